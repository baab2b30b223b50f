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

ChunkHeader structured_chunk(const Request& request, ChunkType type, std::size_t length_bytes, bool last) {
  return {.flags = last ? kChunkDone : std::uint16_t{0},
          .type = static_cast<std::uint16_t>(type),
          .cookie = request.cookie,
          .length_bytes = static_cast<std::uint32_t>(length_bytes)};
}

ExtendedChunkHeader extended_chunk(const Request& request, ChunkType type, std::size_t length_bytes,
                                   bool last) {
  return {.flags = last ? kChunkDone : std::uint16_t{0},
          .type = static_cast<std::uint16_t>(type),
          .cookie = request.cookie,
          .offset_bytes = request.offset_bytes,
          .length_bytes = length_bytes};
}

// The one chunk of a reply.
void append_chunk(Reply& reply, const Request& request, HeaderForm form, ChunkType type,
                  std::size_t length_bytes) {
  if (form == HeaderForm::kExtended) {
    append_head(reply, extended_chunk(request, type, length_bytes, true));
  } else {
    append_head(reply, structured_chunk(request, type, length_bytes, true));
  }
}

SimpleReply simple(const Request& request, WireError error) {
  return {.error = static_cast<std::uint32_t>(error), .cookie = request.cookie};
}

void append_status(Reply& reply, const Request& request, const ContextStatus& context, bool last) {
  const std::size_t bytes = sizeof(Big32) + context.stretches.size() * sizeof(StatusDescriptor);
  append_body(reply, structured_chunk(request, ChunkType::kBlockStatus, bytes, last));
  append_body(reply, Big32(context.id));
  for (const Stretch& stretch : context.stretches) {
    append_body(reply, StatusDescriptor{.length_bytes = static_cast<std::uint32_t>(stretch.length_bytes),
                                        .state = stretch.state});
  }
}

void append_extended_status(Reply& reply, const Request& request, const ContextStatus& context, bool last) {
  const std::size_t count = context.stretches.size();
  const std::size_t bytes = sizeof(ExtendedStatusHead) + count * sizeof(ExtendedStatusDescriptor);
  append_body(reply, extended_chunk(request, ChunkType::kBlockStatusExtended, bytes, last));
  append_body(reply, ExtendedStatusHead{.context = context.id, .count = static_cast<std::uint32_t>(count)});
  for (const Stretch& stretch : context.stretches) {
    append_body(reply,
                ExtendedStatusDescriptor{.length_bytes = stretch.length_bytes, .state = stretch.state});
  }
}

}  // namespace

Reply done_reply(const Request& request, HeaderForm form) {
  Reply reply;
  const bool read = request.command == Command::kRead && form == HeaderForm::kStructured;
  if (read || form == HeaderForm::kExtended) {
    append_chunk(reply, request, form, ChunkType::kNone, 0);
  } else {
    append_head(reply, simple(request, WireError::kNone));
  }
  return reply;
}

Reply error_reply(const Request& request, HeaderForm form, WireError error, std::string_view text) {
  Reply reply;
  if (form == HeaderForm::kSimple) {
    append_head(reply, simple(request, error));
    return reply;
  }
  text = text.substr(0, kMaxNameBytes);
  append_chunk(reply, request, form, ChunkType::kError, sizeof(ErrorChunk) + text.size());
  append_body(reply, ErrorChunk{.error = static_cast<std::uint32_t>(error),
                                .text_bytes = static_cast<std::uint16_t>(text.size())});
  const auto bytes = std::as_bytes(std::span(text));
  reply.body.insert(reply.body.end(), bytes.begin(), bytes.end());
  return reply;
}

Reply data_reply(const Request& request, HeaderForm form, AlignedBuffer data) {
  Reply reply;
  if (form == HeaderForm::kSimple) {
    append_head(reply, simple(request, WireError::kNone));
  } else {
    append_chunk(reply, request, form, ChunkType::kOffsetData, sizeof(Big64) + request.length_bytes);
    append_head(reply, Big64(request.offset_bytes));
  }
  reply.data = std::move(data);
  reply.data_bytes = request.length_bytes;
  return reply;
}

Reply status_reply(const Request& request, HeaderForm form, std::span<const ContextStatus> contexts) {
  Reply reply;
  for (const ContextStatus& context : contexts) {
    const bool last = &context == &contexts.back();
    if (form == HeaderForm::kExtended) {
      append_extended_status(reply, request, context, last);
    } else {
      append_status(reply, request, context, last);
    }
  }
  return reply;
}

}  // namespace coppice::nbd
