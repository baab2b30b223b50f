// Where a volume's blocks differ between two snapshots, to be asked of any range of it.
//
// Pure.
#pragma once

#include <cstdint>
#include <vector>

namespace coppice::cli {

struct ByteRange {
  std::uint64_t offset_bytes = 0;
  std::uint64_t length_bytes = 0;
};

class ChangedRanges {
 public:
  // In order and not overlapping, of the whole disk; of the volume that lies at `volume` what is in it.
  ChangedRanges(const std::vector<ByteRange>& disk, const ByteRange& volume);
  [[nodiscard]] bool empty() const { return ranges_.empty(); }
  // The parts of a range of the volume that may differ.
  [[nodiscard]] std::vector<ByteRange> within(const ByteRange& range) const;

 private:
  std::vector<ByteRange> ranges_;
};

}  // namespace coppice::cli
