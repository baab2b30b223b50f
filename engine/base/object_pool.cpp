#include "base/object_pool.h"

#include <sys/mman.h>

#include <algorithm>
#include <cstdint>

namespace coppice {

namespace {

constexpr std::size_t kFirstChunkBytes = std::size_t{16} << 10;
constexpr std::size_t kHugePageBytes = std::size_t{2} << 20;

#if defined(__has_feature)
constexpr bool kPooled = !__has_feature(address_sanitizer);  // so that it sees use after free
#else
constexpr bool kPooled = true;
#endif

}  // namespace

void FixedRooms::add_chunk() {
  chunk_bytes_ = std::clamp(2 * chunk_bytes_, kFirstChunkBytes, kHugePageBytes);
  chunk_bytes_ = std::max(chunk_bytes_, bytes_);
  const bool huge = chunk_bytes_ == kHugePageBytes;
  auto* chunk = static_cast<std::byte*>(huge ? std::aligned_alloc(kHugePageBytes, chunk_bytes_)
                                             : std::malloc(chunk_bytes_));
  if (chunk == nullptr) throw std::bad_alloc();
  if (huge) (void)madvise(chunk, chunk_bytes_, MADV_HUGEPAGE);  // as it likes
  chunks_.emplace_back(chunk);
  next_ = chunk;
  end_ = chunk + chunk_bytes_;
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
