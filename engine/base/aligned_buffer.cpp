#include "coppice/aligned_buffer.h"

#include <sys/mman.h>

#include <cstdint>
#include <exception>
#include <new>

#include "base/io_memory.h"
#include "base/pooled.h"
#include "coppice/types.h"

namespace coppice {

namespace {

constexpr std::align_val_t kAlignment{kBlockBytes};

// From here on the system's pages are mapped for it alone. Of the heap they would come back to the system
// only while nothing younger lies above them: clients that vanish left 700 MiB behind that nobody used.
constexpr std::size_t kMappedBytes = std::size_t{256} << 10;

std::byte* map_pages(std::size_t bytes) {
  void* memory = mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (memory == MAP_FAILED) std::terminate();
  return static_cast<std::byte*>(memory);
}

}  // namespace

// Built without a handler for std::bad_alloc, as all of the engine: out of memory here ends the process.
AlignedBuffer::AlignedBuffer(std::size_t bytes) : size_(bytes) {
  if (bytes == 0) return;
  const std::size_t capacity = round_up(bytes, kBlockBytes);
  if (std::byte* memory = take_io_memory(capacity); memory != nullptr) {
    memory_.reset(memory);
  } else if (kPooled && capacity >= kMappedBytes) {
    memory_ = {map_pages(capacity), ReleaseAligned{capacity}};
  } else {
    memory_.reset(static_cast<std::byte*>(::operator new(capacity, kAlignment)));
  }
}

void ReleaseAligned::operator()(std::byte* memory) const {
  if (mapped_bytes != 0) {
    munmap(memory, mapped_bytes);
  } else if (!give_back_io_memory(memory)) {
    ::operator delete(memory, kAlignment);
  }
}

bool is_block_aligned(const void* memory) {
  return reinterpret_cast<std::uintptr_t>(memory) % kBlockBytes == 0;
}

}  // namespace coppice
