// Staging memory that outlives the Staging on it, as a mapped file outlives the process.
#pragma once

#include <memory>
#include <vector>

#include "journal/staging.h"

namespace coppice::test {

class SharedMemory {
 public:
  explicit SharedMemory(std::uint64_t ring_bytes)
      : bytes_(std::make_shared<std::vector<std::byte>>(kStagingRingOffset + ring_bytes)) {}
  [[nodiscard]] std::unique_ptr<StagingMemory> attach() const { return std::make_unique<View>(bytes_); }
  [[nodiscard]] SharedMemory copy() const {
    SharedMemory other(0);
    *other.bytes_ = *bytes_;
    return other;
  }
  [[nodiscard]] std::vector<std::byte>& bytes() const { return *bytes_; }
  [[nodiscard]] StagingTail read_tail(const StagingStamp& stamp) const {
    return Staging(attach()).read_tail(stamp);
  }

 private:
  struct View final : StagingMemory {
    explicit View(std::shared_ptr<std::vector<std::byte>> from) : memory(std::move(from)) {}
    std::span<std::byte> bytes() override { return *memory; }
    std::shared_ptr<std::vector<std::byte>> memory;
  };
  std::shared_ptr<std::vector<std::byte>> bytes_;
};

inline StagingStamp make_stamp(std::uint64_t open_generation = 1) {
  StagingStamp stamp;
  stamp.boot.bytes.fill(1);
  stamp.store.bytes.fill(2);
  stamp.open_generation = open_generation;
  return stamp;
}

}  // namespace coppice::test
