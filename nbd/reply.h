// A reply to one request, ready for the wire: a head, and what follows it.
//
// With extended headers each reply is made of chunks. Where structured replies were agreed on, reads are
// answered with one chunk, block status with one for each context, and so are errors, which then carry a
// text; all else is a simple reply. Pure; any thread.
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
  static constexpr std::size_t kMaxHeadBytes = sizeof(ExtendedChunkHeader) + sizeof(Big64);
  std::array<std::byte, kMaxHeadBytes> head{};
  std::size_t head_bytes = 0;
  std::vector<std::byte> body;  // small things: an error's text, block status
  AlignedBuffer data;           // what was read
  std::size_t data_bytes = 0;
  std::size_t charged_bytes = 0;  // given back to the connection's budget once it is sent
};

Reply done_reply(const Request& request, HeaderForm form);
Reply error_reply(const Request& request, HeaderForm form, WireError error, std::string_view text);
// What `request` read, more than nothing.
Reply data_reply(const Request& request, HeaderForm form, AlignedBuffer data);
// Of each context that was asked for, what covers the request from its offset on; at least one. None is
// longer than 4 GiB if the request isn't.
struct Stretch {
  std::uint64_t length_bytes = 0;
  std::uint32_t state = 0;
  bool operator==(const Stretch&) const = default;
};
struct ContextStatus {
  std::uint32_t id = 0;
  std::vector<Stretch> stretches;
};
Reply status_reply(const Request& request, HeaderForm form, std::span<const ContextStatus> contexts);

}  // namespace coppice::nbd
