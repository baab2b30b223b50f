// A leaf: where the 64 blocks (256 KiB) of a piece of a disk stand, in one version. Fully resolved: a version
// says all there is to say, no older one is needed.
//
// Kept as runs, sorted, never overlapping, never empty, merged where they continue each other (data:
// physically adjacent and of the same birth; zeroes: same birth). What no run covers is a hole: nothing was
// ever written there in this branch's history, and it reads as zeroes (or as the base beneath).
// Encoded with deltas and varints: at most 512 bytes for 64 scattered blocks in the usual case; the decoder
// accepts nothing that the encoder can't produce.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "coppice/result.h"
#include "coppice/types.h"
#include "layout/run_list.h"

namespace coppice {

// Whether `next` goes on where `run` ends, so that one run can stand for both.
[[nodiscard]] bool continues(const LeafRun& run, const LeafRun& next);

class Leaf {
 public:
  // The run that contains `index`, cut to start there; for holes up to the next run or the leaf's end.
  [[nodiscard]] LeafRun run_at(unsigned index) const;
  [[nodiscard]] std::span<const LeafRun> runs() const { return runs_.all(); }
  [[nodiscard]] bool empty() const { return runs_.empty(); }
  // What it takes beyond its own size.
  [[nodiscard]] std::size_t heap_bytes() const { return runs_.heap_bytes(); }

  // Replaces what stood in [first, first + count).
  void map(unsigned first, unsigned count, PhysicalBlock physical, Epoch birth);
  void zero(unsigned first, unsigned count, Epoch birth);
  // Makes holes of the blocks whose bits are set.
  void punch(std::uint64_t mask);

  static constexpr std::size_t kMostEncodedBytes = 12 + kLeafBlocks * 22;
  // Into the front of `room`, which it returns.
  std::span<const std::byte> encode(std::span<std::byte, kMostEncodedBytes> room) const;
  static Result<Leaf> decode(std::span<const std::byte> from);
  bool operator==(const Leaf&) const = default;

 private:
  void replace(unsigned first, unsigned count, const LeafRun* with);
  [[no_unique_address]] RunList runs_;
};

}  // namespace coppice
