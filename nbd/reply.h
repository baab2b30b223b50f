// A reply to one request, ready for the wire: a head, and what follows it.
//
// Reads are answered with one structured chunk where structured replies were agreed on, block status with one
// for each context, and so are errors, which then carry a text; all else is a simple reply. Pure; any thread.
#pragma once

#include <array>
#include <span>
#include <string_view>
#include <vector>

#include "coppice/aligned_buffer.h"
#include "coppice/block_device.h"
#include "nbd/request.h"

namespace coppice::nbd {

struct Reply {
  static constexpr std::size_t kMaxHeadBytes = sizeof(ChunkHeader) + sizeof(Big64);
  std::array<std::byte, kMaxHeadBytes> head{};
  std::size_t head_bytes = 0;
  std::vector<std::byte> body;  // small things: an error's text, block status
  AlignedBuffer data;           // what was read
  std::size_t data_bytes = 0;
  std::size_t charged_bytes = 0;  // given back to the connection's budget once it is sent
};

Reply done_reply(const Request& request, bool structured);
Reply error_reply(const Request& request, bool structured, WireError error, std::string_view text);
// `length_bytes` of `data`, more than none.
Reply data_reply(const Request& request, bool structured, AlignedBuffer data);
// Of each chosen context, what covers the request from its offset on; at least one.
struct ContextStatus {
  std::uint32_t id = 0;
  std::vector<StatusDescriptor> stretches;
};
Reply status_reply(const Request& request, std::span<const ContextStatus> contexts);

}  // namespace coppice::nbd
