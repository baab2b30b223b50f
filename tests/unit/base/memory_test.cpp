// Memory of the engine's own making: the area of aligned buffers, and pools of objects.
#include <catch2/catch.hpp>

#include <algorithm>
#include <cstring>
#include <random>
#include <set>
#include <thread>
#include <vector>

#include "base/io_memory.h"
#include "base/object_pool.h"
#include "coppice/aligned_buffer.h"
#include "coppice/types.h"

namespace coppice {
namespace {

std::byte mark_of(std::size_t number) {
  return static_cast<std::byte>(number * 37 + 11);
}

TEST_CASE("buffers of the area don't overlap, and come back", "[memory]") {
  enable_io_memory();
  std::mt19937_64 random(1);
  std::vector<AlignedBuffer> held;
  std::vector<std::size_t> numbers;
  for (std::size_t i = 0; i < 4000; ++i) {
    if (held.size() > 40 || (!held.empty() && random() % 3 == 0)) {
      const std::size_t at = random() % held.size();
      const std::span<std::byte> all = held[at].span();
      REQUIRE(std::ranges::all_of(all, [&](std::byte each) { return each == mark_of(numbers[at]); }));
      held.erase(held.begin() + static_cast<std::ptrdiff_t>(at));
      numbers.erase(numbers.begin() + static_cast<std::ptrdiff_t>(at));
      continue;
    }
    // Above 1 MiB, and when the area is full, from the heap.
    AlignedBuffer buffer(1 + random() % (random() % 8 == 0 ? 3 << 20 : 40000));
    REQUIRE(is_block_aligned(buffer.data()));
    std::memset(buffer.data(), static_cast<int>(mark_of(i)), buffer.size());
    held.push_back(std::move(buffer));
    numbers.push_back(i);
  }
}

TEST_CASE("what the area gave is used again, whichever thread gives it back", "[memory]") {
  enable_io_memory();
  const std::span<std::byte> area = io_memory();
  if (area.empty()) return;  // built to find wrong accesses
  std::set<std::byte*> seen;
  for (int i = 0; i < 100000; ++i) {
    AlignedBuffer buffer(kBlockBytes);
    REQUIRE(buffer.data() >= area.data());
    REQUIRE(buffer.data() + kBlockBytes <= area.data() + area.size());
    seen.insert(buffer.data());
    if (i % 1000 == 0) std::thread([moved = std::move(buffer)] {}).join();
  }
  CHECK(seen.size() < 10);
  CHECK(take_io_memory(area.size()) == nullptr);
  std::byte elsewhere{};
  CHECK_FALSE(give_back_io_memory(&elsewhere));
}

struct Object {
  std::uint64_t value = 7;
  std::vector<int> owned = std::vector<int>(3);
};

TEST_CASE("objects of a pool are made anew and stay apart", "[memory]") {
  ObjectPool<Object> pool;
  std::mt19937_64 random(2);
  std::vector<std::pair<ObjectPool<Object>::Pointer, std::uint64_t>> held;
  for (std::uint64_t i = 0; i < 200000; ++i) {
    if (!held.empty() && random() % 5 < 2) {
      const std::size_t at = random() % held.size();
      REQUIRE(held[at].first->value == held[at].second);
      held[at] = std::move(held.back());
      held.pop_back();
      continue;
    }
    auto object = pool.make();
    REQUIRE(object->value == 7);
    object->value = i;
    held.emplace_back(std::move(object), i);
  }
}

}  // namespace
}  // namespace coppice
