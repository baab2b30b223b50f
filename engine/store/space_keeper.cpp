#include "store/space_keeper.h"

#include <algorithm>
#include <optional>
#include <string>

namespace coppice {

namespace {

constexpr std::chrono::milliseconds kLongestPause{100};
constexpr std::chrono::seconds kReserveRetry{5};
constexpr int kShareOfOthers = 3;

}  // namespace

SpaceKeeper::SpaceKeeper(Scheduler& scheduler, Engine& engine, SpaceOptions options)
    : scheduler_(scheduler), engine_(engine), options_(options), beats_(scheduler), running_(scheduler) {}

void SpaceKeeper::start() {
  engine_.parts().allocator.set_unit(options_.unit_blocks);
  if (engine_.reserve() != nullptr) {
    running_.add();
    spawn(keep_reserve());
  }
  if (options_.prepare) {
    running_.add();
    spawn(prepare());
  }
  if (options_.give_back) {
    running_.add();
    spawn(give_back());
  }
}

Task<void> SpaceKeeper::stop() {
  stopping_ = true;
  beats_.wake_all();
  co_await running_.wait();
}

bool SpaceKeeper::ended() {
  return stopping_ || engine_.parts().journal.failed();
}

Task<void> SpaceKeeper::wait(std::chrono::nanoseconds time) {
  const auto end = scheduler_.now() + time;
  while (!ended() && scheduler_.now() < end) co_await beats_.wait();
}

std::uint64_t SpaceKeeper::spare_blocks() {
  return options_.spare_blocks != 0 ? options_.spare_blocks : engine_.parts().pool.superblock().slab_blocks;
}

// True if something was made readier.
Task<Result<bool>> SpaceKeeper::step() {
  Parts& parts = engine_.parts();
  auto refilled = co_await parts.allocator.refill(options_.step_bytes);
  if (!refilled || *refilled) co_return refilled;
  auto ahead = co_await parts.pool.prepare_slab(options_.step_bytes);
  if (!ahead) co_return std::unexpected(ahead.error());
  co_return ahead->written_bytes != 0;
}

// Beside the reserve the map has half as much to grow into; without it, what the reserve needs to come back.
Task<void> SpaceKeeper::keep_reserve() {
  SpaceReserve& reserve = *engine_.reserve();
  Pool& pool = engine_.parts().pool;
  std::optional<bool> held;
  auto next_try = scheduler_.now();
  while (!ended()) {
    if (!reserve.held() && scheduler_.now() >= next_try) {
      co_await in_background(scheduler_, [&] { return reserve.fill(); });
      next_try = scheduler_.now() + kReserveRetry;
    }
    if (held != reserve.held()) {
      const bool again = held.has_value();
      held = reserve.held();
      const std::uint64_t half = reserve.size_bytes() / 2;
      pool.keep_room(reserve.path(), *held ? half : 3 * half);
      if (again)
        engine_.tell(*held ? reserve.path() + ": the reserve for the map is back"
                           : "warning: the file system of " + reserve.path() +
                                 " is full, and the map lives on its reserve: free space there");
    }
    co_await wait(options_.look);
  }
  running_.done();
}

Task<void> SpaceKeeper::prepare() {
  co_await wait(options_.settle);
  if (!ended()) engine_.parts().allocator.note_holes();
  const auto least =
      std::chrono::nanoseconds(options_.step_bytes * 1'000'000'000 / options_.bytes_per_second);
  while (!ended()) {
    bool worked = false;
    const auto began = scheduler_.now();
    if (engine_.parts().allocator.free_blocks() < spare_blocks() / 2) {
      auto done = co_await step();
      // Writers meet the same failure, and tell it.
      if (!done) break;
      worked = *done;
    }
    if (worked) {
      const auto took = scheduler_.now() - began;
      const auto rest = std::max(least - took, took * kShareOfOthers);
      co_await sleep_for(scheduler_, std::min<std::chrono::nanoseconds>(rest, kLongestPause));
    } else {
      co_await wait(options_.look);
    }
  }
  running_.done();
}

Task<void> SpaceKeeper::give_back() {
  Parts& parts = engine_.parts();
  Result<> given;
  while (!ended() && given) {
    co_await wait(options_.idle);
    if (ended()) break;
    // What was free at the last look is free in a checkpoint that began after it.
    const bool settled = parts.pool.superblock().journal_tail_sequence > settled_at_;
    if (settled) settled_at_ = parts.journal.point().sequence;
    for (const PhysicalRun unit : parts.allocator.idle_units(settled)) {
      if (ended() || parts.allocator.free_blocks() < spare_blocks() + unit.count) break;
      given = co_await parts.allocator.give_back(unit);
      if (!given) break;
      co_await sleep_for(scheduler_, options_.pause);
    }
  }
  running_.done();
}

}  // namespace coppice
