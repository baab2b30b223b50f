#include "nbd/request.h"

namespace coppice::nbd {

namespace {

// FUA means nothing where nothing is written, and the protocol has it ignored there.
std::optional<std::uint16_t> allowed_flags(Command command) {
  switch (command) {
    case Command::kRead:
      return kCommandFua | kCommandDf;
    case Command::kWriteZeroes:
      return kCommandFua | kCommandNoHole | kCommandFastZero;
    case Command::kBlockStatus:
      return kCommandFua | kCommandReqOne;
    case Command::kWrite:
    case Command::kDisconnect:
    case Command::kFlush:
    case Command::kTrim:
    case Command::kCache:
      return kCommandFua;
  }
  return std::nullopt;
}

bool changes_data(Command command) {
  return command == Command::kWrite || command == Command::kTrim || command == Command::kWriteZeroes;
}

std::optional<Refusal> refuse_length(const Request& request) {
  const bool carries_data = request.command == Command::kRead || request.command == Command::kWrite;
  if (carries_data && request.length_bytes > kMaxRequestPayload) {
    // EOVERFLOW is reserved for a read that may not be fragmented.
    const bool whole = request.command == Command::kRead && request.has(kCommandDf);
    return Refusal{whole ? WireError::kOverflow : WireError::kInvalid, "request is longer than 32 MiB"};
  }
  if (request.command == Command::kBlockStatus && request.length_bytes == 0) {
    return Refusal{WireError::kInvalid, "block status of no bytes"};
  }
  return std::nullopt;
}

std::optional<Refusal> refuse_range(const Request& request, const ExportShape& shape) {
  if (request.command == Command::kFlush) return std::nullopt;
  if (request.offset_bytes <= shape.size_bytes &&
      request.length_bytes <= shape.size_bytes - request.offset_bytes) {
    return std::nullopt;
  }
  const bool fills = request.command == Command::kWrite || request.command == Command::kWriteZeroes;
  return Refusal{fills ? WireError::kNoSpace : WireError::kInvalid, "range is past the end of the disk"};
}

}  // namespace

std::optional<Request> decode_request(std::span<const std::byte> bytes) {
  const auto header = decode<RequestHeader>(bytes);
  if (header.magic != kRequestMagic) return std::nullopt;
  return Request{.command = static_cast<Command>(static_cast<std::uint16_t>(header.command)),
                 .flags = header.flags,
                 .cookie = header.cookie,
                 .offset_bytes = header.offset_bytes,
                 .length_bytes = header.length_bytes};
}

std::uint16_t transmission_flags(const ExportShape& shape) {
  // A flush covers all connections, so several may be used at once. Zeroes are metadata: always fast.
  unsigned flags = kHasFlags | kSendFlush | kSendFua | kSendCache;
  if (!shape.one_client) flags |= kCanMultiConn;
  flags |= shape.read_only ? unsigned{kReadOnly} : unsigned{kSendTrim | kSendWriteZeroes | kSendFastZero};
  if (shape.structured_replies) flags |= kSendDf;
  return static_cast<std::uint16_t>(flags);
}

std::optional<Refusal> refuse_request(const Request& request, const ExportShape& shape) {
  const auto allowed = allowed_flags(request.command);
  if (!allowed) return Refusal{WireError::kInvalid, "unknown command"};
  if (changes_data(request.command) && shape.read_only) {
    return Refusal{WireError::kPermission, "export is read-only"};
  }
  if ((request.flags & ~*allowed) != 0) return Refusal{WireError::kInvalid, "unknown flag for this command"};
  if (request.command == Command::kBlockStatus && !shape.block_status) {
    return Refusal{WireError::kInvalid, "block status without a metadata context"};
  }
  // Blocks without a hole are written, which is as slow as the client doing so.
  if (request.has(kCommandFastZero) && request.has(kCommandNoHole)) {
    return Refusal{WireError::kNotSupported, "zeroing without a hole is not fast"};
  }
  if (const auto refusal = refuse_length(request)) return refusal;
  return refuse_range(request, shape);
}

}  // namespace coppice::nbd
