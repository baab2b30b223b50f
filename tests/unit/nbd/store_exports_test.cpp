// A store's disks and snapshots as exports, with a store that only remembers what it was asked.
#include "nbd/store_exports.h"

#include <catch2/catch.hpp>

#include "memory_device.h"

using namespace coppice;

namespace {

std::unexpected<Failure> not_asked_for() {
  return refuse(ErrorKind::kUnsupported, "not part of this test");
}

class RememberingStore final : public Store {
 public:
  [[nodiscard]] std::string read_only() const override { return {}; }
  explicit RememberingStore(Scheduler& scheduler) : disk_(scheduler, 1 << 20) {}

  Spec opened;
  Access access = Access::kReadOnly;
  std::string holder;
  std::string token;
  std::vector<AttachmentInfo> attached;

  Task<Outcome<std::vector<NodeInfo>>> tree(std::optional<std::string>) override {
    std::vector<NodeInfo> nodes(3);
    nodes[0] = snapshot_node();
    nodes[1].kind = NodeInfo::Kind::kDeleted;
    nodes[2] = head_node();
    co_return nodes;
  }
  Task<Outcome<NodeInfo>> info(Spec spec) override {
    if (spec.disk != "vm") co_return refuse(ErrorKind::kNotFound, "no disk '" + spec.disk + "'");
    co_return spec.is_snapshot() ? snapshot_node() : head_node();
  }
  Task<Outcome<std::unique_ptr<BlockDevice>>> open_device(Spec spec, Access how, Holder who) override {
    opened = spec;
    access = how;
    holder = who.description;
    co_return std::make_unique<test::MemoryDevice>(disk_, how == Access::kReadOnly);
  }

  Task<Outcome<>> create_disk(std::string, std::uint64_t, DiskPolicy) override { co_return not_asked_for(); }
  Task<Outcome<std::uint64_t>> create_disk_over(std::string, std::uint64_t, DiskPolicy, BaseSource) override {
    co_return not_asked_for();
  }
  Task<Outcome<>> set_base(std::string, BaseSource) override { co_return not_asked_for(); }
  Task<Outcome<>> start_flatten(std::string, FlattenPace) override { co_return not_asked_for(); }
  Task<Outcome<>> stop_flatten(std::string) override { co_return not_asked_for(); }
  Task<Outcome<>> snapshot(std::vector<Spec>, SnapshotOptions) override { co_return not_asked_for(); }
  Task<Outcome<>> hold(Spec, std::string) override { co_return not_asked_for(); }
  Task<Outcome<std::string>> release(Spec, std::string) override { co_return not_asked_for(); }
  Task<Outcome<std::int64_t>> trash(std::vector<Spec>, bool) override { co_return not_asked_for(); }
  Task<Outcome<RemovalPreview>> preview_removal(std::vector<Spec>, bool, bool) override {
    co_return not_asked_for();
  }
  Task<Outcome<>> undelete(std::string, std::string) override { co_return not_asked_for(); }
  Task<Outcome<>> purge(std::vector<std::string>) override { co_return not_asked_for(); }
  Task<Outcome<std::vector<TrashInfo>>> trashed() override { co_return not_asked_for(); }
  Task<Outcome<>> set_expiry(Spec, std::int64_t) override { co_return not_asked_for(); }
  Task<Outcome<>> set_schedule(std::string, Schedule) override { co_return not_asked_for(); }
  Task<Outcome<ScheduleInfo>> schedule(std::string, std::optional<Schedule>) override {
    co_return not_asked_for();
  }
  Task<Outcome<>> run_policies() override { co_return not_asked_for(); }
  Task<Outcome<std::string>> rollback(std::vector<Spec>, RollbackOptions) override {
    co_return not_asked_for();
  }
  Task<Outcome<GroupInfo>> group(Spec) override { co_return not_asked_for(); }
  Task<Outcome<ReclaimInfo>> reclaim(std::optional<std::string>) override { co_return not_asked_for(); }
  Task<Outcome<>> clone(Spec, std::string) override { co_return not_asked_for(); }
  Task<Outcome<>> remove(std::vector<Spec>, bool) override { co_return not_asked_for(); }
  Task<Outcome<>> rename(Spec, std::string) override { co_return not_asked_for(); }
  Task<Outcome<>> resize(std::string, std::uint64_t) override { co_return not_asked_for(); }
  Task<Outcome<>> set_policy(std::string, DiskPolicy) override { co_return not_asked_for(); }
  Task<Outcome<AttachmentInfo>> attach(std::string, AttachOptions) override { co_return not_asked_for(); }
  Task<Outcome<std::vector<AttachmentInfo>>> attachments(std::string) override { co_return attached; }
  Task<Outcome<std::vector<AttachmentInfo>>> detach(std::string, std::string) override {
    co_return not_asked_for();
  }
  Task<Outcome<std::vector<AttachmentInfo>>> detach_all(std::string) override { co_return not_asked_for(); }
  Task<Outcome<std::vector<AttachmentInfo>>> fence(std::string) override { co_return not_asked_for(); }
  Task<Outcome<std::unique_ptr<BlockDevice>>> open_attachment(std::string disk, std::string by,
                                                              Holder who) override {
    opened = {disk, ""};
    token = by;
    holder = who.description;
    co_return std::make_unique<test::MemoryDevice>(disk_, false);
  }
  Task<Outcome<std::vector<SpaceInfo>>> space(std::optional<std::string>) override {
    co_return not_asked_for();
  }
  Task<Outcome<>> keep_changes(std::vector<Spec>) override { co_return not_asked_for(); }
  Task<Outcome<>> set_quota(std::string, std::uint64_t) override { co_return not_asked_for(); }
  Task<Outcome<SetSpace>> space_of(std::vector<Spec>, bool) override { co_return SetSpace{}; }
  Task<Outcome<std::vector<Spec>>> range(Spec, Spec) override { co_return std::vector<Spec>{}; }
  Task<Outcome<std::vector<PoolInfo>>> pools() override { co_return not_asked_for(); }
  Task<Outcome<std::vector<DiffRange>>> diff(Spec, Spec, std::uint64_t) override {
    co_return not_asked_for();
  }
  Task<Outcome<CheckReport>> check(bool) override { co_return not_asked_for(); }
  Task<Outcome<std::string>> dump() override { co_return not_asked_for(); }
  Task<Outcome<>> wait_for_reclaim() override { co_return not_asked_for(); }
  Task<Outcome<>> close() override { co_return not_asked_for(); }

 private:
  static NodeInfo head_node() {
    NodeInfo node;
    node.disk = "vm";
    node.size_bytes = 1 << 20;
    return node;
  }
  static NodeInfo snapshot_node() {
    NodeInfo node = head_node();
    node.kind = NodeInfo::Kind::kSnapshot;
    node.snapshot = "before";
    node.note = "update";
    return node;
  }
  test::MemoryDisk disk_;
};

struct Fixture {
  std::unique_ptr<Reactor> reactor = std::move(*Reactor::create());
  RememberingStore store{*reactor};
  nbd::StoreExports exports{store};
};

}  // namespace

TEST_CASE("heads and snapshots are listed, deleted nodes are not") {
  Fixture fixture;
  const auto exports = fixture.reactor->run(fixture.exports.list());
  REQUIRE(exports);
  REQUIRE(exports->size() == 2);
  CHECK((*exports)[0].name == "vm@before");
  CHECK((*exports)[0].read_only);
  CHECK((*exports)[0].description.find("snapshot of vm: update") != std::string::npos);
  CHECK((*exports)[1].name == "vm");
  CHECK_FALSE((*exports)[1].read_only);
  CHECK((*exports)[1].size_bytes == 1 << 20);
}

TEST_CASE("a disk is opened for writing, a snapshot for reading, for a holder with a name") {
  Fixture fixture;
  const auto disk = fixture.reactor->run(fixture.exports.open("vm", {"somebody"}));
  REQUIRE(disk);
  CHECK(fixture.store.opened == Spec{"vm", ""});
  CHECK(fixture.store.access == Access::kReadWrite);
  CHECK(fixture.store.holder == "somebody");
  const auto snapshot = fixture.reactor->run(fixture.exports.open("vm@before", {"somebody"}));
  REQUIRE(snapshot);
  CHECK(fixture.store.opened == Spec{"vm", "before"});
  CHECK(fixture.store.access == Access::kReadOnly);
}

TEST_CASE("an attachment is opened by its token; others read meanwhile") {
  Fixture fixture;
  const std::string name = nbd::attachment_export("vm", "5f0c-77");
  CHECK(name == "vm/attach:5f0c-77");
  const auto info = fixture.reactor->run(fixture.exports.describe(name));
  REQUIRE(info);
  CHECK(info->name == name);
  CHECK(info->one_client);
  CHECK_FALSE(info->read_only);
  REQUIRE(fixture.reactor->run(fixture.exports.open(name, {"somebody"})));
  CHECK(fixture.store.opened == Spec{"vm", ""});
  CHECK(fixture.store.token == "5f0c-77");
  CHECK(fixture.reactor->run(fixture.exports.bases(name, 8)) == std::vector<std::string>{"before"});
  CHECK(fixture.exports.base_export(name, "before") == "vm@before");

  fixture.store.attached.resize(1);
  fixture.store.attached[0].state = AttachmentInfo::State::kFenced;
  CHECK_FALSE(fixture.reactor->run(fixture.exports.describe("vm"))->read_only);
  fixture.store.attached[0].state = AttachmentInfo::State::kIncoming;
  const auto plain = fixture.reactor->run(fixture.exports.describe("vm"));
  CHECK(plain->read_only);
  CHECK_FALSE(plain->one_client);
  CHECK(plain->description.find("attached") != std::string::npos);
  REQUIRE(fixture.reactor->run(fixture.exports.open("vm", {"somebody"})));
  CHECK(fixture.store.access == Access::kReadOnly);
}

TEST_CASE("what is no attachment's name is refused") {
  for (const char* name : {"vm/", "vm/attach:", "vm/attach", "vm/attach:a/b", "vm@s/attach:a", "/attach:a",
                           "vm/other:a", "vm/attach:-a", "vm/attach:a b"}) {
    INFO(name);
    CHECK_FALSE(nbd::parse_export_name(name));
  }
  CHECK(nbd::parse_export_name("a:b/attach:c:d")->token == "c:d");
}

TEST_CASE("an empty, a bad and an unknown name are refused; the empty one with how to list") {
  Fixture fixture;
  const auto empty = fixture.reactor->run(fixture.exports.open("", {}));
  REQUIRE_FALSE(empty);
  CHECK(empty.error().message.find("nbdinfo --list") != std::string::npos);
  CHECK_FALSE(fixture.reactor->run(fixture.exports.describe("-x")));
  CHECK_FALSE(fixture.reactor->run(fixture.exports.describe("vm@a@b")));
  const auto unknown = fixture.reactor->run(fixture.exports.describe("none"));
  REQUIRE_FALSE(unknown);
  CHECK(unknown.error().kind == ErrorKind::kNotFound);
  CHECK(fixture.store.opened == Spec{});
}
