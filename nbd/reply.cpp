#include "nbd/reply.h"

#include <algorithm>
#include <cstring>

namespace coppice::nbd {

namespace {

template <WireStruct T>
void append_head(Reply& reply, const T& part) {
  std::memcpy(reply.head.data() + reply.head_bytes, &part, sizeof(T));
  reply.head_bytes += sizeof(T);
}

template <WireStruct T>
void append_body(Reply& reply, const T& part) {
  const auto bytes = bytes_of(part);
  reply.body.insert(reply.body.end(), bytes.begin(), bytes.end());
}

ChunkHeader last_chunk(const Request& request, ChunkType type, std::size_t length_bytes) {
  return {.flags = kChunkDone,
          .type = static_cast<std::uint16_t>(type),
          .cookie = request.cookie,
          .length_bytes = static_cast<std::uint32_t>(length_bytes)};
}

SimpleReply simple(const Request& request, WireError error) {
  return {.error = static_cast<std::uint32_t>(error), .cookie = request.cookie};
}

}  // namespace

Reply done_reply(const Request& request, bool structured) {
  Reply reply;
  if (structured && request.command == Command::kRead) {
    append_head(reply, last_chunk(request, ChunkType::kNone, 0));
  } else {
    append_head(reply, simple(request, WireError::kNone));
  }
  return reply;
}

Reply error_reply(const Request& request, bool structured, WireError error, std::string_view text) {
  Reply reply;
  if (!structured) {
    append_head(reply, simple(request, error));
    return reply;
  }
  text = text.substr(0, kMaxNameBytes);
  append_head(reply, last_chunk(request, ChunkType::kError, sizeof(ErrorChunk) + text.size()));
  append_body(reply, ErrorChunk{.error = static_cast<std::uint32_t>(error),
                                .text_bytes = static_cast<std::uint16_t>(text.size())});
  const auto bytes = std::as_bytes(std::span(text));
  reply.body.insert(reply.body.end(), bytes.begin(), bytes.end());
  return reply;
}

Reply data_reply(const Request& request, bool structured, AlignedBuffer data) {
  Reply reply;
  if (structured) {
    append_head(reply, last_chunk(request, ChunkType::kOffsetData, sizeof(Big64) + request.length_bytes));
    append_head(reply, Big64(request.offset_bytes));
  } else {
    append_head(reply, simple(request, WireError::kNone));
  }
  reply.data = std::move(data);
  reply.data_bytes = request.length_bytes;
  return reply;
}

Reply status_reply(const Request& request, std::span<const Extent> extents) {
  Reply reply;
  append_body(reply, Big32(kBaseAllocationId));
  std::uint64_t left_bytes = request.length_bytes;
  for (const Extent& extent : extents) {
    const std::uint64_t covered = std::min(extent.length_bytes, left_bytes);
    if (covered == 0) break;
    left_bytes -= covered;
    append_body(reply, StatusDescriptor{.length_bytes = static_cast<std::uint32_t>(covered),
                                        .state = extent.allocated ? 0 : kStateHole | kStateZero});
  }
  append_head(reply, last_chunk(request, ChunkType::kBlockStatus, reply.body.size()));
  return reply;
}

}  // namespace coppice::nbd
