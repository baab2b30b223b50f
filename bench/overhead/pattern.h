// Where requests go, and what stands there.
//
// Walk visits every place of a range once before it comes back to any, so requests in flight never overlap.
// Ledger stamps each 4 KiB block that is written with its disk, its address and a number that grows, and
// remembers the number: what is read back is compared with it, so that a broken engine isn't timed.
#pragma once

#include <cstdint>
#include <optional>
#include <random>
#include <span>
#include <vector>

#include "coppice/types.h"

namespace coppice::bench {

class Walk {
 public:
  Walk(std::uint64_t span_bytes, std::uint64_t step_bytes, bool sequential, std::uint64_t seed);
  [[nodiscard]] std::uint64_t next();
  [[nodiscard]] std::uint64_t places() const { return places_; }
  [[nodiscard]] std::uint64_t visited() const { return visited_; }

 private:
  std::uint64_t step_bytes_;
  std::uint64_t places_;
  std::uint64_t visited_ = 0;
  std::vector<std::uint32_t> order_;  // empty: sequential
};

class Ledger {
 public:
  explicit Ledger(std::uint64_t span_bytes);
  [[nodiscard]] std::uint64_t span_bytes() const { return numbers_.size() * kBlockBytes; }
  [[nodiscard]] std::uint32_t writes() const { return last_; }
  // Marks the blocks of a request that starts at `offset_bytes`. The rest of the memory stays as it is.
  void stamp(std::uint64_t offset_bytes, std::span<std::byte> memory);
  // Whether the blocks hold what was stamped last. `skip_number`: a write of unknown fate, only the address.
  [[nodiscard]] bool matches(std::uint64_t offset_bytes, std::span<const std::byte> memory,
                             bool skip_number = false) const;
  // The offset of the block that looks like this one, wherever it stands; nothing if it is none of this disk.
  [[nodiscard]] std::optional<std::uint64_t> recognize(std::span<const std::byte> block) const;

 private:
  std::uint64_t disk_;                  // no two of a process have the same
  std::vector<std::uint32_t> numbers_;  // 0: never written
  std::uint32_t last_ = 0;
};

// Content that neither compresses nor repeats.
void fill_random(std::span<std::byte> memory, std::uint64_t seed);

}  // namespace coppice::bench
