// RangeLock against a list of who holds what, by seeds.
#include <catch2/catch.hpp>

#include <algorithm>
#include <deque>
#include <memory>
#include <random>
#include <vector>

#include "disk/range_lock.h"

namespace coppice {
namespace {

class Queue final : public Scheduler {
 public:
  void post(std::coroutine_handle<> handle) override { ready_.push_back(handle); }
  void start_timer(TimerRequest&) override { FAIL("no timers here"); }
  void offload(BackgroundJob&) override { FAIL("no background here"); }
  std::chrono::nanoseconds now() override { return {}; }
  void run() {
    while (!ready_.empty()) {
      const auto handle = ready_.front();
      ready_.pop_front();
      handle.resume();
    }
  }

 private:
  std::deque<std::coroutine_handle<>> ready_;
};

struct Writer {
  RangeLock::Entry entry;
  bool holds = false;
  std::uint64_t order = 0;
};

Task<void> acquire(RangeLock& lock, Writer& writer) {
  co_await lock.acquire(writer.entry);
  writer.holds = true;
}

bool overlap(const Writer& a, const Writer& b) {
  return a.entry.first < b.entry.end && b.entry.first < a.entry.end;
}

class Model {
 public:
  explicit Model(std::uint64_t seed) : random_(seed), lock_(queue_) {}

  void step() {
    const std::uint64_t kind = random_() % 8;
    if (kind < 4 && writers_.size() < 40) return add();
    if (kind == 4) epoch_ = epoch_.next();
    if (kind == 5) return start_one();
    if (kind > 5) release_one();
  }

  void check() {
    for (const auto& writer : writers_) {
      const bool waits = std::ranges::any_of(writers_, [&](const auto& other) {
        return other->order < writer->order && overlap(*other, *writer);
      });
      REQUIRE(writer->holds == !waits);
    }
    for (int i = 0; i < 4; ++i) {
      Writer looked;
      range(looked.entry);
      const Epoch epoch{epoch_.value - std::min<std::uint64_t>(epoch_.value - 1, random_() % 3) +
                        random_() % 2};
      const bool older = std::ranges::any_of(writers_, [&](const auto& other) {
        return overlap(*other, looked) && other->entry.epoch.value != 0 && other->entry.epoch < epoch;
      });
      REQUIRE(lock_.older_write_in(looked.entry.first, looked.entry.end, epoch) == older);
    }
    REQUIRE(lock_.idle() == writers_.empty());
  }

  void finish() {
    while (!writers_.empty()) {
      release_one();
      check();
    }
  }

 private:
  // Some meet, some only share a counter (8,192 blocks apart), some are too wide to be counted.
  void range(RangeLock::Entry& entry) {
    entry.first = random_() % 512 + random_() % 3 * 8192;
    const std::uint64_t shape = random_() % 16;
    entry.end = entry.first + (shape == 0 ? 1 + random_() % 20000 : shape < 4 ? 1 + random_() % 130 : 1);
  }
  void add() {
    auto writer = std::make_unique<Writer>();
    range(writer->entry);
    writer->order = ++order_;
    spawn(acquire(lock_, *writer));
    writers_.push_back(std::move(writer));
  }
  void start_one() {
    for (const auto& writer : writers_) {
      if (!writer->holds || writer->entry.epoch.value != 0) continue;
      // A piece of a request that is done in several may start in an epoch that is over.
      const std::uint64_t back = random_() % 8 == 0 && epoch_.value > 1 ? 1 : 0;
      return lock_.start(writer->entry, Epoch{epoch_.value - back});
    }
  }
  void release_one() {
    std::vector<std::size_t> holding;
    for (std::size_t i = 0; i < writers_.size(); ++i) {
      if (writers_[i]->holds) holding.push_back(i);
    }
    if (holding.empty()) return;
    const std::size_t chosen = holding[random_() % holding.size()];
    lock_.release(writers_[chosen]->entry);
    writers_.erase(writers_.begin() + static_cast<std::ptrdiff_t>(chosen));
    queue_.run();
  }

  std::mt19937_64 random_;
  Queue queue_;
  RangeLock lock_;
  Epoch epoch_{1};
  std::uint64_t order_ = 0;
  std::vector<std::unique_ptr<Writer>> writers_;
};

}  // namespace

TEST_CASE("writers hold what nobody before them holds", "[range_lock]") {
  for (std::uint64_t seed = 0; seed < 200; ++seed) {
    INFO("seed " << seed);
    Model model(seed);
    for (int i = 0; i < 300; ++i) {
      model.step();
      model.check();
    }
    model.finish();
  }
}

}  // namespace coppice
