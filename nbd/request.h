// A transmission request and the reasons to refuse it before the disk is asked.
//
// Pure; any thread.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <vector>

#include "nbd/protocol.h"

namespace coppice::nbd {

struct Request {
  Command command = Command::kRead;  // may hold a number that is none of the enum's
  std::uint16_t flags = 0;
  std::uint64_t cookie = 0;
  std::uint64_t offset_bytes = 0;
  std::uint64_t length_bytes = 0;   // of what it is about
  std::uint64_t payload_bytes = 0;  // that follow it on the wire
  [[nodiscard]] bool has(std::uint16_t flag) const { return (flags & flag) != 0; }
};

[[nodiscard]] std::size_t header_bytes(HeaderForm form);
// `bytes` are a header's. Empty if the magic is wrong, or the payload longer than any may be: the stream is
// out of step, or not worth following any further.
std::optional<Request> decode_request(std::span<const std::byte> bytes, HeaderForm form);

// What both sides agreed on, and what they agreed on it about.
struct ExportShape {
  std::uint64_t size_bytes = 0;
  bool read_only = false;
  HeaderForm form = HeaderForm::kSimple;
  bool block_status = false;  // a metadata context was chosen
  bool one_client = false;    // no second connection beside this one
};

// The flags that an export is advertised with.
std::uint16_t transmission_flags(const ExportShape& shape);

struct Refusal {
  WireError error = WireError::kInvalid;
  const char* text = "";  // static; the client is told
};

// Nothing if the disk may be asked. A refused request's payload must still be taken off the wire.
std::optional<Refusal> refuse_request(const Request& request, const ExportShape& shape);

// A block status request that names the contexts that it is about, in its payload.
[[nodiscard]] bool names_contexts(const Request& request, const ExportShape& shape);
// The longest payload that can name different contexts.
inline constexpr std::size_t kMaxStatusPayload = sizeof(StatusPayload) + kMaxContexts * sizeof(Big32);
// Takes the payload apart: the request gets its length from it. Empty where it doesn't name contexts, each
// once.
std::optional<std::vector<std::uint32_t>> take_status_payload(Request& request,
                                                              std::span<const std::byte> payload);

}  // namespace coppice::nbd
