#include "nbd/request.h"

#include <algorithm>

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

std::optional<Refusal> refuse_flags(const Request& request, const ExportShape& shape, std::uint16_t allowed) {
  const bool extended = shape.form == HeaderForm::kExtended;
  if (extended && request.command == Command::kWrite) {
    if (!request.has(kCommandPayloadLength)) return Refusal{WireError::kInvalid, "a write without a payload"};
    allowed |= kCommandPayloadLength;
  }
  if ((request.flags & ~allowed) == 0) return std::nullopt;
  const bool payload = extended && request.has(kCommandPayloadLength);
  return Refusal{WireError::kInvalid,
                 payload ? "this command takes no payload" : "unknown flag for this command"};
}

std::optional<Refusal> refuse_length(const Request& request, const ExportShape& shape) {
  const bool carries_data = request.command == Command::kRead || request.command == Command::kWrite;
  if (carries_data && request.length_bytes > kMaxRequestPayload) {
    // EOVERFLOW is for reads that may not be fragmented, and with extended headers for all reads.
    const bool may_overflow = request.has(kCommandDf) || shape.form == HeaderForm::kExtended;
    const bool overflow = request.command == Command::kRead && may_overflow;
    return Refusal{overflow ? WireError::kOverflow : WireError::kInvalid, "request is longer than 32 MiB"};
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

template <class Header>
Request request_of(const Header& header) {
  return {.command = static_cast<Command>(static_cast<std::uint16_t>(header.command)),
          .flags = header.flags,
          .cookie = header.cookie,
          .offset_bytes = header.offset_bytes,
          .length_bytes = header.length_bytes};
}

std::optional<Request> decode_extended(std::span<const std::byte> bytes) {
  const auto header = decode<ExtendedRequestHeader>(bytes);
  if (header.magic != kExtendedRequestMagic) return std::nullopt;
  Request request = request_of(header);
  if (request.has(kCommandPayloadLength)) request.payload_bytes = request.length_bytes;
  // What is longer would have to be taken off the wire for nothing, for up to 16 EiB.
  if (request.payload_bytes > kMaxRequestPayload) return std::nullopt;
  return request;
}

}  // namespace

std::size_t header_bytes(HeaderForm form) {
  return form == HeaderForm::kExtended ? sizeof(ExtendedRequestHeader) : sizeof(RequestHeader);
}

std::optional<Request> decode_request(std::span<const std::byte> bytes, HeaderForm form) {
  if (form == HeaderForm::kExtended) return decode_extended(bytes);
  const auto header = decode<RequestHeader>(bytes);
  if (header.magic != kRequestMagic) return std::nullopt;
  Request request = request_of(header);
  if (request.command == Command::kWrite) request.payload_bytes = request.length_bytes;
  return request;
}

std::uint16_t transmission_flags(const ExportShape& shape) {
  // A flush covers all connections, so several may be used at once. Zeroes are metadata: always fast.
  unsigned flags = kHasFlags | kSendFlush | kSendFua | kSendCache;
  if (!shape.one_client) flags |= kCanMultiConn;
  flags |= shape.read_only ? unsigned{kReadOnly} : unsigned{kSendTrim | kSendWriteZeroes | kSendFastZero};
  if (shape.form != HeaderForm::kSimple) flags |= kSendDf;
  if (shape.form == HeaderForm::kExtended && shape.block_status) flags |= kBlockStatusPayload;
  return static_cast<std::uint16_t>(flags);
}

std::optional<Refusal> refuse_request(const Request& request, const ExportShape& shape) {
  const auto allowed = allowed_flags(request.command);
  if (!allowed) return Refusal{WireError::kInvalid, "unknown command"};
  if (changes_data(request.command) && shape.read_only) {
    return Refusal{WireError::kPermission, "export is read-only"};
  }
  if (const auto refusal = refuse_flags(request, shape, *allowed)) return refusal;
  if (request.command == Command::kBlockStatus && !shape.block_status) {
    return Refusal{WireError::kInvalid, "block status without a metadata context"};
  }
  // Blocks without a hole are written, which is as slow as the client doing so.
  if (request.has(kCommandFastZero) && request.has(kCommandNoHole)) {
    return Refusal{WireError::kNotSupported, "zeroing without a hole is not fast"};
  }
  if (const auto refusal = refuse_length(request, shape)) return refusal;
  return refuse_range(request, shape);
}

bool names_contexts(const Request& request, const ExportShape& shape) {
  return request.command == Command::kBlockStatus && shape.form == HeaderForm::kExtended &&
         shape.block_status && request.has(kCommandPayloadLength);
}

std::optional<std::vector<std::uint32_t>> take_status_payload(Request& request,
                                                              std::span<const std::byte> payload) {
  std::vector<std::uint32_t> ids;
  if (payload.size() <= sizeof(StatusPayload) || payload.size() % sizeof(Big32) != 0) return std::nullopt;
  request.length_bytes = decode<StatusPayload>(payload).length_bytes;
  request.flags = static_cast<std::uint16_t>(request.flags & ~kCommandPayloadLength);
  for (auto rest = payload.subspan(sizeof(StatusPayload)); !rest.empty();
       rest = rest.subspan(sizeof(Big32))) {
    const std::uint32_t id = decode<Big32>(rest);
    if (std::ranges::find(ids, id) != ids.end()) return std::nullopt;
    ids.push_back(id);
  }
  return ids;
}

}  // namespace coppice::nbd
