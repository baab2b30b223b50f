#include "base/io_memory.h"

#include <sys/mman.h>

#include <array>
#include <atomic>
#include <bit>
#include <cstdint>
#include <mutex>

#include "base/huge_page.h"
#include "base/pooled.h"
#include "coppice/types.h"

namespace coppice {

namespace {

constexpr std::size_t kAreaBytes = std::size_t{32} << 20;
constexpr std::size_t kAreaBlocks = kAreaBytes / kBlockBytes;
// Powers of two from a block to 1 MiB.
constexpr std::size_t kClasses = 9;
// From here on they come from the area's end, of large pages: of scattered ones a device is asked for less at
// once, by its number of segments. What is smaller is often hardly touched (idle clients), and stays so.
constexpr std::size_t kLargeBytes = std::size_t{256} << 10;

struct Free {
  Free* next;
};

struct Area {
  std::mutex mutex;
  std::atomic<std::byte*> start = nullptr;
  std::size_t used = 0;   // bytes handed out at any time, from the start …
  std::size_t large = 0;  // … and from the end
  std::array<Free*, kClasses> free{};
  std::array<std::uint8_t, kAreaBlocks> classes{};  // by first block
};
constinit Area area;

std::size_t class_of(std::size_t bytes) {
  return static_cast<std::size_t>(std::countr_zero(std::bit_ceil(bytes / kBlockBytes)));
}

}  // namespace

void enable_io_memory() {
  const std::lock_guard lock(area.mutex);
  if (!kPooled || area.start != nullptr) return;
  const std::size_t reserved = kAreaBytes + kHugePageBytes;
  void* memory =
      mmap(nullptr, reserved, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (memory == MAP_FAILED) return;
  auto* start = static_cast<std::byte*>(memory);
  start += round_up(reinterpret_cast<std::uintptr_t>(start), kHugePageBytes) -
           reinterpret_cast<std::uintptr_t>(start);
  area.start = start;
}

std::span<std::byte> io_memory() {
  std::byte* start = area.start.load(std::memory_order_relaxed);
  return {start, start == nullptr ? 0 : kAreaBytes};
}

std::byte* take_io_memory(std::size_t bytes) {
  if (io_memory().empty()) return nullptr;
  const std::size_t size_class = class_of(bytes);
  if (size_class >= kClasses) return nullptr;
  const std::lock_guard lock(area.mutex);
  if (Free* first = area.free[size_class]; first != nullptr) {
    area.free[size_class] = first->next;
    return reinterpret_cast<std::byte*>(first);
  }
  const std::size_t whole = kBlockBytes << size_class;
  if (kAreaBytes - area.used - area.large < whole) return nullptr;
  std::size_t at = area.used;
  if (whole < kLargeBytes) {
    area.used += whole;
  } else {
    area.large += whole;
    at = kAreaBytes - area.large;
    // Before it is touched.
    const std::size_t page = at / kHugePageBytes * kHugePageBytes;
    (void)madvise(area.start + page, round_up(at + whole, kHugePageBytes) - page, MADV_HUGEPAGE);
  }
  area.classes[at / kBlockBytes] = static_cast<std::uint8_t>(size_class);
  return area.start + at;
}

bool give_back_io_memory(std::byte* memory) {
  const std::span<std::byte> all = io_memory();
  if (all.empty() || memory < all.data() || memory >= all.data() + all.size()) return false;
  const std::lock_guard lock(area.mutex);
  const auto block = static_cast<std::size_t>(memory - all.data()) / kBlockBytes;
  Free*& first = area.free[area.classes[block]];
  first = new (memory) Free{first};
  return true;
}

}  // namespace coppice
