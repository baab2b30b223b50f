// A transmission request and the reasons to refuse it before the disk is asked.
//
// Pure; any thread.
#pragma once

#include <cstdint>
#include <optional>

#include "nbd/protocol.h"

namespace coppice::nbd {

struct Request {
  Command command = Command::kRead;  // may hold a number that is none of the enum's
  std::uint16_t flags = 0;
  std::uint64_t cookie = 0;
  std::uint64_t offset_bytes = 0;
  std::uint32_t length_bytes = 0;
  [[nodiscard]] bool has(std::uint16_t flag) const { return (flags & flag) != 0; }
  [[nodiscard]] bool has_payload() const { return command == Command::kWrite; }
};

// Empty if the magic is wrong: the stream is out of step and can't be followed any further.
std::optional<Request> decode_request(std::span<const std::byte> bytes);

// What both sides agreed on, and what they agreed on it about.
struct ExportShape {
  std::uint64_t size_bytes = 0;
  bool read_only = false;
  bool structured_replies = false;
  bool block_status = false;  // a metadata context was chosen
  bool one_client = false;    // no second connection beside this one
};

// The flags that an export is advertised with.
std::uint16_t transmission_flags(const ExportShape& shape);

struct Refusal {
  WireError error = WireError::kInvalid;
  const char* text = "";  // static; the client is told
};

// Nothing if the disk may be asked. A refused write's payload must still be taken off the wire.
std::optional<Refusal> refuse_request(const Request& request, const ExportShape& shape);

}  // namespace coppice::nbd
