#include "nbd/reply.h"

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

Reply status_reply(const Request& request, std::span<const ContextStatus> contexts) {
  Reply reply;
  for (const ContextStatus& context : contexts) {
    const bool first = &context == &contexts.front();
    const bool last = &context == &contexts.back();
    const std::size_t bytes = sizeof(Big32) + context.stretches.size() * sizeof(StatusDescriptor);
    ChunkHeader header = last_chunk(request, ChunkType::kBlockStatus, bytes);
    if (!last) header.flags = 0;
    if (first) {
      append_head(reply, header);
    } else {
      append_body(reply, header);
    }
    append_body(reply, Big32(context.id));
    for (const StatusDescriptor& stretch : context.stretches) append_body(reply, stretch);
  }
  return reply;
}

}  // namespace coppice::nbd
