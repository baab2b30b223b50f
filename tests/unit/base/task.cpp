#include "coppice/task.h"

#include <catch2/catch.hpp>
#include <cstring>
#include <memory>
#include <thread>
#include <vector>

using namespace coppice;

namespace {

Task<std::uint64_t> add_one(std::uint64_t value) {
  co_return value + 1;
}

Task<> count_to(std::uint64_t goal, std::uint64_t& counter) {
  while (counter < goal) {
    auto next = co_await add_one(counter);
    counter = next;
  }
}

Task<std::uint64_t> nested(std::uint64_t depth) {
  if (depth == 0) co_return 0;
  auto below = co_await nested(depth - 1);
  co_return below + 1;
}

Task<std::unique_ptr<int>> make_moveable() {
  co_return std::make_unique<int>(7);
}

Task<> store_moveable(int& into) {
  auto value = co_await make_moveable();
  into = *value;
}

Task<> store_depth(std::uint64_t depth, std::uint64_t& into) {
  auto value = co_await nested(depth);
  into = value;
}

Task<> hold(std::shared_ptr<int> held) {
  [[maybe_unused]] const auto kept = held;
  co_return;
}

}  // namespace

TEST_CASE("a million awaits in a loop use no stack") {
  std::uint64_t counter = 0;
  spawn(count_to(1'000'000, counter));
  CHECK(counter == 1'000'000);
}

TEST_CASE("values come out of the depth, also those that only move") {
  std::uint64_t depth = 0;
  spawn(store_depth(200'000, depth));
  CHECK(depth == 200'000);
  int value = 0;
  spawn(store_moveable(value));
  CHECK(value == 7);
}

TEST_CASE("a task that is never awaited does not run, and frees what it holds") {
  auto held = std::make_shared<int>(1);
  {
    const Task<> never = hold(held);
  }
  CHECK(held.use_count() == 1);
}

TEST_CASE("frames of all sizes are disjoint, aligned and may be freed on another thread") {
  std::vector<std::pair<char*, std::size_t>> frames;
  for (std::size_t bytes = 1; bytes < 20'000; bytes += 1 + bytes / 3) {
    for (int i = 0; i < 3; ++i) {
      auto* frame = static_cast<char*>(detail::allocate_frame(bytes));
      CHECK(reinterpret_cast<std::uintptr_t>(frame) % 16 == 0);
      std::memset(frame, static_cast<int>(frames.size() % 256), bytes);
      frames.emplace_back(frame, bytes);
    }
  }
  for (std::size_t i = 0; i < frames.size(); ++i) {
    const auto [frame, bytes] = frames[i];
    REQUIRE(frame[0] == static_cast<char>(i % 256));
    REQUIRE(frame[bytes - 1] == static_cast<char>(i % 256));
  }
  std::thread([&] {
    for (const auto& [frame, bytes] : frames) detail::free_frame(frame, bytes);
    std::uint64_t counter = 0;
    spawn(count_to(1000, counter));
    CHECK(counter == 1000);
  }).join();
}

#if !defined(__SANITIZE_ADDRESS__) && !__has_feature(address_sanitizer)
TEST_CASE("a freed frame serves the next one of its size class") {
  void* frame = detail::allocate_frame(1000);
  detail::free_frame(frame, 1000);
  void* again = detail::allocate_frame(1024);  // 961 … 1024 are one class
  CHECK(again == frame);
  detail::free_frame(again, 1024);
}
#endif
