// A fixed number of buffers that copy jobs take and give back: what bounds a copy's memory and its depth.
//
// Lives on one reactor's thread. A job that has taken a slot gives it back exactly once; drain() returns
// when all are back, so the owner may go away then.
#pragma once

#include <vector>

#include "coppice/aligned_buffer.h"
#include "coppice/scheduler.h"
#include "coppice/task.h"

namespace coppice::formats {

inline constexpr std::size_t kChunkBytes = std::size_t{1} << 20;
inline constexpr std::size_t kChunksInFlight = 8;

class ChunkSlots {
 public:
  explicit ChunkSlots(Scheduler& scheduler, std::size_t count = kChunksInFlight) : given_back_(scheduler) {
    buffers_.reserve(count);
    for (std::size_t i = 0; i < count; ++i) buffers_.emplace_back(kChunkBytes);
    for (auto& buffer : buffers_) free_.push_back(&buffer);
  }
  ChunkSlots(const ChunkSlots&) = delete;
  ChunkSlots& operator=(const ChunkSlots&) = delete;

  Task<AlignedBuffer*> take() {
    while (free_.empty()) co_await given_back_.wait();
    AlignedBuffer* buffer = free_.back();
    free_.pop_back();
    co_return buffer;
  }
  void give_back(AlignedBuffer* buffer) {
    free_.push_back(buffer);
    given_back_.wake_all();
  }
  Task<void> drain() {
    while (free_.size() != buffers_.size()) co_await given_back_.wait();
  }

 private:
  std::vector<AlignedBuffer> buffers_;
  std::vector<AlignedBuffer*> free_;
  WaitQueue given_back_;
};

}  // namespace coppice::formats
