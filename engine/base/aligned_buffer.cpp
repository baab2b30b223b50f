#include "coppice/aligned_buffer.h"

#include <cstdint>
#include <new>

#include "base/io_memory.h"
#include "coppice/types.h"

namespace coppice {

namespace {
constexpr std::align_val_t kAlignment{kBlockBytes};
}

// Built without a handler for std::bad_alloc, as all of the engine: out of memory here ends the process.
AlignedBuffer::AlignedBuffer(std::size_t bytes) : size_(bytes) {
  if (bytes == 0) return;
  const std::size_t capacity = round_up(bytes, kBlockBytes);
  std::byte* memory = take_io_memory(capacity);
  if (memory == nullptr) memory = static_cast<std::byte*>(::operator new(capacity, kAlignment));
  memory_.reset(memory);
}

void AlignedBuffer::Release::operator()(std::byte* memory) const {
  if (!give_back_io_memory(memory)) ::operator delete(memory, kAlignment);
}

bool is_block_aligned(const void* memory) {
  return reinterpret_cast<std::uintptr_t>(memory) % kBlockBytes == 0;
}

}  // namespace coppice
