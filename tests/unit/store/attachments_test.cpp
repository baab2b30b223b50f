// Attachments of a real store: who writes, what is refused, what a restart finds.
#include <cerrno>

#include "store_fixture.h"

namespace coppice {
namespace {

using test::StoreFixture;
using State = AttachmentInfo::State;

class House : public StoreFixture {
 public:
  AttachmentInfo attach(const std::string& disk, bool incoming = false, const std::string& label = "") {
    auto made = run(store->attach(disk, {incoming, label}));
    require(made);
    return *made;
  }
  std::unique_ptr<BlockDevice> open_as(const std::string& disk, const AttachmentInfo& attachment,
                                       const std::string& who = "test") {
    auto device = run(store->open_attachment(disk, attachment.token, {who, {}}));
    require(device);
    return std::move(*device);
  }
  Result<> write(BlockDevice& device, char value) {
    AlignedBuffer buffer(4096);
    std::ranges::fill(buffer.span(), static_cast<std::byte>(value));
    return run(device.write(0, buffer.span(), WriteFlags{}));
  }
  std::vector<State> states(const std::string& disk) {
    auto all = run(store->attachments(disk));
    require(all);
    std::vector<State> found;
    for (const AttachmentInfo& each : *all) found.push_back(each.state);
    return found;
  }
};

using States = std::vector<State>;

TEST_CASE("the second writer's first write fences the first, whose late flush succeeds") {
  House house;
  house.create("web");
  const AttachmentInfo source = house.attach("web", false, "source");
  CHECK(source.epoch == 1);
  CHECK(source.state == State::kActive);
  const AttachmentInfo target = house.attach("web", true, "target");
  CHECK(target.epoch == 2);
  CHECK(target.token != source.token);
  auto old = house.open_as("web", source);
  auto next = house.open_as("web", target);
  REQUIRE(house.write(*old, 'a').has_value());
  AlignedBuffer buffer(4096);
  REQUIRE(house.run(next->read(0, buffer.span())).has_value());
  CHECK(static_cast<char>(buffer.span()[0]) == 'a');
  REQUIRE(house.run(next->flush()).has_value());
  REQUIRE(house.write(*old, 'b').has_value());
  CHECK(house.states("web") == States{State::kActive, State::kIncoming});

  REQUIRE(house.write(*next, 'c').has_value());
  CHECK(house.states("web") == States{State::kFenced, State::kActive});
  const Result<> refused = house.write(*old, 'd');
  REQUIRE_FALSE(refused.has_value());
  CHECK(refused.error().kind == ErrorKind::kBusy);
  CHECK(refused.error().errno_value == ESHUTDOWN);
  CHECK_FALSE(house.run(old->discard(0, 4096, {})).has_value());
  CHECK_FALSE(house.run(old->write_zeroes(0, 4096, {})).has_value());
  CHECK(house.run(old->flush()).has_value());
  CHECK(house.told("epoch 2 writes now") == 1);
  REQUIRE(house.write(*next, 'e').has_value());
  old.reset();
  next.reset();
  house.refused(house.run(house.store->open_attachment("web", source.token, {"x", {}})), ErrorKind::kBusy,
                "epoch 1) is fenced");
  CHECK(house.first("web") == 'e');
}

TEST_CASE("epochs and states survive a restart, and epochs never come again") {
  House house;
  house.create("web");
  const AttachmentInfo source = house.attach("web");
  const AttachmentInfo target = house.attach("web", true, "it");
  {
    auto next = house.open_as("web", target);
    REQUIRE(house.write(*next, 'c').has_value());
  }
  house.reopen();
  const auto all = house.run(house.store->attachments("web"));
  house.require(all);
  REQUIRE(all->size() == 2);
  CHECK((*all)[0].token == source.token);
  CHECK((*all)[0].state == State::kFenced);
  CHECK((*all)[1].token == target.token);
  CHECK((*all)[1].state == State::kActive);
  CHECK((*all)[1].label == "it");
  CHECK((*all)[1].created_unix_ms == house.now_ms);
  {
    auto next = house.open_as("web", target);
    REQUIRE(house.write(*next, 'd').has_value());
  }
  CHECK(house.run(house.store->detach_all("web"))->size() == 2);
  CHECK(house.states("web").empty());
  house.reopen();
  CHECK(house.states("web").empty());
  CHECK(house.attach("web").epoch == 3);
  house.check();
}

TEST_CASE("others read while a disk is attached, and who writes without an attachment is named") {
  House house;
  house.create("web");
  {
    auto plain = house.run(house.store->open_device({"web", ""}, Access::kReadWrite, {"a plain client", {}}));
    house.require(plain);
    house.refused(house.run(house.store->attach("web", {})), ErrorKind::kBusy, "a plain client");
    house.refused(house.run(house.store->attach("web", {true, ""})), ErrorKind::kBusy, "a plain client");
    house.refused(house.run(house.store->fence("web")), ErrorKind::kBusy, "a plain client");
  }
  const AttachmentInfo made = house.attach("web", false, "guest 7");
  house.refused(house.run(house.store->attach("web", {})), ErrorKind::kBusy, "guest 7, epoch 1");
  house.refused(house.run(house.store->open_device({"web", ""}, Access::kReadWrite, {"x", {}})),
                ErrorKind::kBusy, "guest 7");
  CHECK(house.first("web") == 0);
  auto device = house.open_as("web", made, "its client");
  for (const Outcome<>& outcome :
       {house.run(house.store->resize("web", 2 << 20)), house.run(house.store->rename({"web", ""}, "other")),
        house.run(house.store->set_policy("web", {.strict = true})),
        house.run(house.store->remove({{"web", ""}}, false))}) {
    house.refused(outcome, ErrorKind::kBusy, "guest 7, epoch 1, its client");
  }
  house.refused(house.run(house.store->trash({{"web", ""}}, false)), ErrorKind::kBusy, "guest 7");
  house.snapshot("web", "one");
  house.refused(house.run(house.store->rollback({{"web", "one"}}, {})), ErrorKind::kBusy, "--online");
  device.reset();
  // It is away, and may be about to come back.
  house.refused(house.run(house.store->rollback({{"web", "one"}}, {})), ErrorKind::kBusy, "guest 7");
  house.require(house.run(house.store->detach("web", "")));
  house.require(house.run(house.store->rollback({{"web", "one"}}, {})));
  house.refused(house.run(house.store->detach("web", "")), ErrorKind::kNotFound, "not attached");
}

TEST_CASE("a fence is for all that could write, and leaves the disk to whoever comes next") {
  House house;
  house.create("web");
  const AttachmentInfo one = house.attach("web");
  auto old = house.open_as("web", one);
  REQUIRE(house.write(*old, 'a').has_value());
  house.attach("web", true);
  CHECK(house.run(house.store->fence("web"))->size() == 2);
  CHECK(house.states("web") == States{State::kFenced, State::kFenced});
  CHECK_FALSE(house.write(*old, 'b').has_value());
  CHECK(house.run(old->flush()).has_value());
  CHECK(house.run(house.store->fence("web"))->empty());
  const AttachmentInfo next = house.attach("web");
  CHECK(next.epoch == 3);
  auto device = house.open_as("web", next);
  REQUIRE(house.write(*device, 'c').has_value());
  old.reset();
  device.reset();
  house.require(house.run(house.store->detach("web", next.token)));
  house.refused(house.run(house.store->detach("web", "")), ErrorKind::kInvalid, "2 attachments");
  house.refused(house.run(house.store->detach("web", next.token)), ErrorKind::kNotFound, "no attachment");
  // What is fenced stands in nobody's way, and goes with the disk.
  house.require(house.run(house.store->remove({{"web", ""}}, false)));
  house.create("web");
  CHECK(house.attach("web").epoch == 1);
}

// A client that leaves when it is asked to, as a connection does.
Task<bool> leave_soon(Reactor& reactor, std::unique_ptr<BlockDevice>& device, std::string& why) {
  while (why.empty()) co_await sleep_for(reactor, std::chrono::milliseconds(1));
  device.reset();
  co_return true;
}

TEST_CASE("a successor waits until the client before it is gone; so does a detach, and a rollback") {
  House house;
  house.create("web");
  house.fill("web", 'a');
  house.snapshot("web", "one");
  const AttachmentInfo made = house.attach("web");
  std::string why;
  std::unique_ptr<BlockDevice> device;
  const auto open = [&] {
    why.clear();
    auto opened = house.run(house.store->open_attachment(
        "web", made.token,
        {.description = "client", .leave = [&why](const std::string& text) { why = text; }}));
    house.require(opened);
    device = std::move(*opened);
    spawn(leave_soon(*house.reactor, device, why));
  };
  open();
  REQUIRE(house.write(*device, 'b').has_value());
  {
    auto successor = house.open_as("web", made);
    CHECK(device == nullptr);
  }
  CHECK(why == "its attachment has a new connection");

  open();
  const auto rehearsed = house.run(
      house.store->rollback({{"web", "one"}}, {.keep_as = "kept", .dry_run = true, .online = true}));
  house.require(rehearsed);
  CHECK(device != nullptr);
  const auto kept = house.run(house.store->rollback({{"web", "one"}}, {.keep_as = "kept", .online = true}));
  house.require(kept);
  CHECK(device == nullptr);
  CHECK(why == "its disk is rolled back");
  CHECK(house.first("web") == 'a');
  CHECK(house.first("web", "kept") == 'b');
  open();
  REQUIRE(house.write(*device, 'c').has_value());
  house.require(house.run(house.store->detach("web", made.token)));
  CHECK(device == nullptr);
  CHECK(house.first("web") == 'c');
  house.check();
}

TEST_CASE("a rollback online is refused to a client that can't be asked, and where the size changes") {
  House house;
  house.create("web");
  house.snapshot("web", "small");
  house.require(house.run(house.store->resize("web", 2 << 20)));
  house.snapshot("web", "large");
  const RollbackOptions online{.keep_as = "", .online = true};
  const AttachmentInfo made = house.attach("web");
  auto device = house.open_as("web", made);
  house.refused(house.run(house.store->rollback({{"web", "small"}}, online)), ErrorKind::kBusy,
                "another size");
  device.reset();
  {
    auto reader = house.run(house.store->open_device({"web", ""}, Access::kReadOnly, {"a reader", {}}));
    house.require(reader);
    house.refused(house.run(house.store->rollback({{"web", "large"}}, online)), ErrorKind::kBusy, "a reader");
  }
  house.require(house.run(house.store->rollback({{"web", "large"}}, online)));
  house.require(house.run(house.store->detach_all("web")));
  house.require(house.run(house.store->rollback({{"web", "small"}}, online)));
}

TEST_CASE("there are sixteen attachments at most, and what is fenced makes room") {
  House house;
  house.create("web");
  house.attach("web");
  for (int i = 2; i <= 16; ++i) house.attach("web", true);
  house.refused(house.run(house.store->attach("web", {true, ""})), ErrorKind::kBusy, "16 attachments");
  house.refused(house.run(house.store->attach("web", {true, std::string(256, 'x')})), ErrorKind::kInvalid,
                "255 bytes");
  house.require(house.run(house.store->fence("web")));
  CHECK(house.attach("web").epoch == 17);
  const auto all = house.run(house.store->attachments("web"));
  REQUIRE(all->size() == 16);
  CHECK(all->front().epoch == 2);
}

}  // namespace
}  // namespace coppice
