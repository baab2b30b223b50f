// The gate alone: in which order attachments write.
#include "store/attachment_gate.h"

#include <catch2/catch.hpp>

#include "coppice/reactor.h"

namespace coppice {
namespace {

using State = AttachmentState;
using Pass = AttachmentGate::Pass;

struct House {
  std::unique_ptr<Reactor> reactor = std::move(*Reactor::create());
  std::vector<std::uint64_t> promoted;
  Outcome<> outcome;  // of what is made durable
  bool slow = false;  // it waits until `release`
  WaitQueue release{*reactor};
  AttachmentGate gate{*reactor, [this](std::uint64_t epoch) { return record(epoch); }};
  std::vector<std::string> log;

  Task<Outcome<>> record(std::uint64_t epoch) {
    promoted.push_back(epoch);
    if (slow) co_await release.wait();
    co_return outcome;
  }
  Task<void> try_to_write(Pass* pass, std::string name) {
    Result<> ready;
    if (!gate.try_write(*pass)) ready = co_await gate.write(*pass);
    log.push_back(name + (ready ? " writes" : " may not"));
    if (!ready) last_error = ready.error();
  }
  void settle() {
    for (int i = 0; i < 20; ++i) reactor->run(pause());
  }
  Task<bool> pause() {
    co_await sleep_for(*reactor, std::chrono::microseconds(1));
    co_return true;
  }
  Pass* enter(std::uint64_t epoch, State state) { return &*gate.enter({epoch, state, {}}); }
  Error last_error;
};

using Log = std::vector<std::string>;

TEST_CASE("the active one writes at once, what is fenced never does") {
  House house;
  Pass* active = house.enter(1, State::kActive);
  CHECK(house.gate.try_write(*active));
  house.gate.wrote();
  active->state = State::kFenced;
  CHECK_FALSE(house.gate.try_write(*active));
  spawn(house.try_to_write(active, "old"));
  house.settle();
  CHECK(house.log == Log{"old may not"});
  CHECK(house.last_error.kind == ErrorKind::kBusy);
  CHECK(house.promoted.empty());
}

TEST_CASE("the first write of an incoming one waits for the other's writes, then for the fence") {
  House house;
  house.slow = true;
  Pass* old = house.enter(1, State::kActive);
  Pass* next = house.enter(2, State::kIncoming);
  REQUIRE(house.gate.try_write(*old));
  REQUIRE(house.gate.try_write(*old));
  spawn(house.try_to_write(next, "next"));
  house.settle();
  // One that comes later neither slips through nor is refused before it is decided.
  spawn(house.try_to_write(old, "late"));
  spawn(house.try_to_write(next, "second"));
  house.settle();
  CHECK(house.log.empty());
  house.gate.wrote();
  house.settle();
  CHECK(house.promoted.empty());
  house.gate.wrote();
  house.settle();
  CHECK(house.promoted == std::vector<std::uint64_t>{2});
  CHECK(house.log.empty());
  house.release.wake_all();
  house.settle();
  CHECK(house.log == Log{"next writes", "late may not", "second writes"});
  CHECK(house.promoted.size() == 1);
  CHECK(old->state == State::kFenced);
  CHECK(next->state == State::kActive);
  CHECK_FALSE(house.gate.try_write(*old));
  CHECK(house.gate.try_write(*next));
}

TEST_CASE("where the fence can't be made durable nothing has changed") {
  House house;
  house.outcome = refuse(ErrorKind::kNoSpace, "full");
  Pass* old = house.enter(1, State::kActive);
  Pass* next = house.enter(2, State::kIncoming);
  spawn(house.try_to_write(next, "next"));
  house.settle();
  CHECK(house.log == Log{"next may not"});
  CHECK(house.last_error.kind == ErrorKind::kNoSpace);
  CHECK(house.gate.try_write(*old));
  house.gate.wrote();
  house.outcome = {};
  spawn(house.try_to_write(next, "again"));
  house.settle();
  CHECK(house.log == Log{"next may not", "again writes"});
}

TEST_CASE(
    "of two incoming ones the older is fenced by the younger, and the younger stays as it is by the older") {
  House house;
  Pass* a = house.enter(1, State::kIncoming);
  Pass* b = house.enter(2, State::kIncoming);
  Pass* c = house.enter(3, State::kIncoming);
  spawn(house.try_to_write(b, "b"));
  house.settle();
  house.gate.wrote();
  CHECK(a->state == State::kFenced);
  CHECK(b->state == State::kActive);
  CHECK(c->state == State::kIncoming);
  spawn(house.try_to_write(a, "a"));
  spawn(house.try_to_write(c, "c"));
  house.settle();
  CHECK(house.log == Log{"b writes", "a may not", "c writes"});
}

TEST_CASE("a change waits for writes only where it concerns them") {
  House house;
  Pass* old = house.enter(1, State::kActive);
  REQUIRE(house.gate.try_write(*old));
  const auto record = [&] { return house.record(7); };
  CHECK(house.reactor->run(house.gate.change(record, {})));
  CHECK(house.promoted == std::vector<std::uint64_t>{7});
  const auto task = [](House& in, AttachmentGate::Record what) -> Task<void> {
    const auto fate = [](const Pass&) { return State::kFenced; };
    co_await in.gate.change(std::move(what), fate);
    in.log.push_back("fenced");
  };
  spawn(task(house, record));
  house.settle();
  CHECK(house.log.empty());
  house.gate.wrote();
  house.settle();
  CHECK(house.log == Log{"fenced"});
  CHECK(old->state == State::kFenced);
}

TEST_CASE("who is dismissed is asked once, and waited for") {
  House house;
  std::vector<std::string> asked;
  Pass leaving{1, State::kActive, {.description = "a", .leave = [&](const std::string& why) {
                                     asked.push_back(why);
                                   }}};
  const auto place = house.gate.enter(std::move(leaving));
  Pass* stays = house.enter(2, State::kIncoming);
  const auto task = [](House& in) -> Task<void> {
    const auto whom = [](const Pass& pass) { return pass.epoch == 1; };
    co_await in.gate.dismiss(whom, "enough");
    in.log.push_back("gone");
  };
  spawn(task(house));
  spawn(task(house));
  house.settle();
  CHECK(asked == Log{"enough"});
  CHECK(house.log.empty());
  house.gate.leave(place);
  house.settle();
  CHECK(house.log == Log{"gone", "gone"});
  CHECK(house.gate.passes().size() == 1);
  CHECK(stays->epoch == 2);
}

}  // namespace
}  // namespace coppice
