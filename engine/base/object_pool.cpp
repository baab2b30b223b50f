#include "base/object_pool.h"

#include <sys/mman.h>

#include <algorithm>
#include <cstdint>

#include "base/huge_page.h"
#include "base/pooled.h"

namespace coppice {

namespace {

constexpr std::size_t kFirstChunkBytes = std::size_t{16} << 10;
// In all, before the first huge page.
constexpr std::size_t kSmallBytes = std::size_t{256} << 10;

}  // namespace

void FixedRooms::add_chunk() {
  const bool huge = total_bytes_ >= kSmallBytes;
  const std::size_t bytes = huge ? kHugePageBytes : std::max({bytes_, total_bytes_, kFirstChunkBytes});
  auto* chunk =
      static_cast<std::byte*>(huge ? std::aligned_alloc(kHugePageBytes, bytes) : std::malloc(bytes));
  if (chunk == nullptr) throw std::bad_alloc();
  if (huge) (void)madvise(chunk, bytes, MADV_HUGEPAGE);  // as it likes
  chunks_.emplace_back(chunk);
  total_bytes_ += bytes;
  next_ = chunk;
  end_ = chunk + bytes;
}

void* FixedRooms::take() {
  if (!kPooled) return ::operator new(bytes_);
  if (free_ != nullptr) return std::exchange(free_, free_->next);
  if (static_cast<std::size_t>(end_ - next_) < bytes_) add_chunk();
  return std::exchange(next_, next_ + bytes_);
}

void FixedRooms::give_back(void* room) {
  if (!kPooled) return ::operator delete(room);
  free_ = new (room) Free{free_};
}

}  // namespace coppice
