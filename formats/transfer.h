// What a long copy tells the one who asked for it, and how that one calls it off.
//
// Lives on the reactor's thread. Both functions may be empty.
#pragma once

#include <cstdint>
#include <functional>

namespace coppice::formats {

struct TransferHooks {
  // Bytes copied so far, of how many (0: not known, a stream).
  std::function<void(std::uint64_t done_bytes, std::uint64_t total_bytes)> progress;
  // False once nobody waits for the copy any more: it stops between two chunks and fails.
  std::function<bool()> wanted;

  void report(std::uint64_t done_bytes, std::uint64_t total_bytes) const {
    if (progress) progress(done_bytes, total_bytes);
  }
  [[nodiscard]] bool still_wanted() const { return !wanted || wanted(); }
};

}  // namespace coppice::formats
