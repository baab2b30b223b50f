// Frames of coroutines, from free lists of this thread.
#include "coppice/task.h"

#include <array>
#include <cstdint>
#include <new>

#include "base/pooled.h"

namespace coppice::detail {

namespace {

constexpr std::size_t kClassBytes = 64;
constexpr std::size_t kClasses = 128;  // up to 8 KiB
constexpr std::size_t kMaxIdleBytes = std::size_t{4}
                                      << 20;  // per class; a burst beyond goes back to the heap

struct FreeFrame {
  FreeFrame* next;
};
struct FreeList {
  FreeFrame* first = nullptr;
  std::size_t count = 0;
};

// Without a destructor, so that access costs no check; `Emptier` frees what is left when the thread ends.
// Frames that outlive that moment (in static objects) pass through the heap.
enum class PoolState : std::uint8_t { kUnused, kOpen, kClosed };
constinit thread_local std::array<FreeList, kClasses> free_lists{};
constinit thread_local PoolState pool_state = PoolState::kUnused;

struct Emptier {
  Emptier() { pool_state = PoolState::kOpen; }
  Emptier(const Emptier&) = delete;
  Emptier& operator=(const Emptier&) = delete;
  ~Emptier() {
    pool_state = PoolState::kClosed;
    for (FreeList& list : free_lists) {
      while (list.first != nullptr) ::operator delete(std::exchange(list.first, list.first->next));
      list.count = 0;
    }
  }
};

bool open_pool() {
  if (pool_state == PoolState::kUnused) {
    [[maybe_unused]] static thread_local Emptier emptier;
  }
  return pool_state == PoolState::kOpen;
}

std::size_t class_of(std::size_t bytes) {
  return (bytes - 1) / kClassBytes;
}

}  // namespace

void* allocate_frame(std::size_t bytes) {
  const std::size_t size_class = class_of(bytes);
  if (!kPooled || size_class >= kClasses) return ::operator new(bytes);
  FreeList& list = free_lists[size_class];
  if (list.first == nullptr) return ::operator new((size_class + 1) * kClassBytes);
  --list.count;
  return std::exchange(list.first, list.first->next);
}

void free_frame(void* frame, std::size_t bytes) noexcept {
  const std::size_t size_class = class_of(bytes);
  if (kPooled && size_class < kClasses && open_pool()) {
    FreeList& list = free_lists[size_class];
    if (list.count * (size_class + 1) * kClassBytes < kMaxIdleBytes) {
      list.first = new (frame) FreeFrame{list.first};
      ++list.count;
      return;
    }
  }
  ::operator delete(frame);
}

}  // namespace coppice::detail
