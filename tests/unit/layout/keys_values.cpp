#include <catch2/catch.hpp>
#include <set>

#include "samples.h"

using namespace coppice;
using namespace coppice::layout_test;

namespace {

// `decode` answers something only for bytes that encode() writes: hostile bytes included.
template <class T, class Decode>
void check_value(const T& value, Decode decode, Random& random) {
  const std::string bytes = encode(value);
  const auto back = decode(bytes);
  REQUIRE(back);
  REQUIRE(*back == value);
  REQUIRE_FALSE(decode(bytes + '\0'));
  for (std::size_t cut = 0; cut < bytes.size(); ++cut) REQUIRE_FALSE(decode(bytes.substr(0, cut)));
  const Bytes start(reinterpret_cast<const std::byte*>(bytes.data()),
                    reinterpret_cast<const std::byte*>(bytes.data() + bytes.size()));
  for (int i = 0; i < 200; ++i) {
    const Bytes hostile = damaged(start, random);
    const std::string_view view(reinterpret_cast<const char*>(hostile.data()), hostile.size());
    const auto accepted = decode(view);
    if (accepted) REQUIRE(encode(*accepted) == view);
  }
}

}  // namespace

TEST_CASE("keys sort as their numbers do, the newest version of a leaf first") {
  Random random(5);
  for (int i = 0; i < 20'000; ++i) {
    const auto number = [&] { return random() >> (random() % 64); };
    const LeafKey a{{number() % 3}, {number() % 5}, {number()}};
    const LeafKey b{{number() % 3}, {number() % 5}, {number()}};
    REQUIRE(decode_leaf_key(encode_key(a)) == a);
    const bool before = std::tuple(a.branch, a.leaf, b.version) < std::tuple(b.branch, b.leaf, a.version);
    REQUIRE((std::string_view(encode_key(a)) < std::string_view(encode_key(b))) == before);
    const ChangeKey c{a.branch, a.version, a.leaf};
    const ChangeKey d{b.branch, b.version, b.leaf};
    REQUIRE(decode_change_key(encode_key(c)) == c);
    REQUIRE((std::string_view(encode_key(c)) < std::string_view(encode_key(d))) == (c < d));
  }
}

TEST_CASE("keys and masks of another length are refused") {
  const std::string key(encode_key(LeafKey{{1}, {2}, {3}}));
  for (const std::string& wrong : {std::string(), key.substr(1), key + "x"}) {
    CHECK_FALSE(decode_leaf_key(wrong));
    CHECK_FALSE(decode_change_key(wrong));
    CHECK_FALSE(decode_mask(wrong));
  }
  CHECK(decode_mask(encode_mask(0x123456789abcdef0)) == 0x123456789abcdef0);
  CHECK_FALSE(decode_mask("1234567"));
}

TEST_CASE("values of the tree come back, and nothing else is taken for one") {
  Random random(6);
  for (int i = 0; i < 50; ++i) {
    const auto number = [&] { return random() >> (random() % 64); };
    const auto time = static_cast<std::int64_t>(random());
    check_value(BranchValue{{number()}, {number()}, {number()}}, decode_branch, random);
    check_value(DiskValue{random_text(random, 255), {number()}, time}, decode_disk, random);
    check_value(DiskValue{random_text(random, 255), {number()}, time, kDiskStrict}, decode_disk, random);
    check_value(TrashValue{time}, decode_trash, random);
    check_value(ScheduleValue{number(), number(), number(), number(), time}, decode_schedule, random);
    AttachmentsValue attachments{number(), {}};
    for (std::uint64_t epoch = 1; epoch <= std::min<std::uint64_t>(attachments.last_epoch, 4); ++epoch) {
      const auto state = static_cast<AttachmentState>(epoch == 2 ? 1 : 2 + number() % 2);
      attachments.all.push_back(
          {epoch, state, sample_uuid(static_cast<std::uint8_t>(i)), time, random_text(random, 255)});
    }
    check_value(attachments, decode_attachments, random);
    BaseValue base = sample_base();
    base.size_bytes = number();
    base.is_device = i % 2 == 0;
    base.flattening = i % 3 == 0;
    base.path = random_text(random, 300);
    check_value(base, decode_base, random);
    base.format = BaseFormat::kQcow2;
    check_value(base, decode_base, random);
    check_value(BookmarkValue{{number()}, {number()}, {number()}, number(), time, random_text(random, 255)},
                decode_bookmark, random);
    check_value(QuotaValue{number()}, decode_quota, random);
    check_value(CountersValue{{number()}, {number()}, {number()}, {number()}}, decode_counters, random);
    check_value(AppliedValue{number(), number(), number(), number()}, decode_applied, random);
    check_value(StoreValue{sample_uuid(static_cast<std::uint8_t>(i)), sample_uuid(1)}, decode_store, random);
    NodeValue node = sample_node();
    node.state = static_cast<NodeState>(1 + i % 3);
    node.size_bytes = number();
    node.created_unix_ms = time;
    node.name = random_text(random, 255);
    node.note = random_text(random, 2000);
    check_value(node, decode_node, random);
    node.expires_unix_ms = i % 2 == 0 ? 0 : time;
    node.scheduled = i % 3 == 0;
    std::set<std::string> tags;
    for (std::uint64_t left = number() % 5; left > 0; --left) tags.insert(random_text(random, 20));
    node.holds.assign(tags.begin(), tags.end());
    check_value(node, decode_node, random);
    node.group = {{1 + number() / 2}, 2 + number() / 2};
    check_value(node, decode_node, random);
  }
}

TEST_CASE("attachments out of order, of a later epoch than the last, or two that write, are refused") {
  const AttachmentValue one{1, AttachmentState::kActive, sample_uuid(1), 0, ""};
  const AttachmentValue two{2, AttachmentState::kIncoming, sample_uuid(2), 0, ""};
  AttachmentValue other = two;
  other.state = AttachmentState::kActive;
  CHECK(decode_attachments(encode(AttachmentsValue{2, {one, two}})));
  CHECK(decode_attachments(encode(AttachmentsValue{2, {}})));
  CHECK_FALSE(decode_attachments(encode(AttachmentsValue{1, {one, two}})));
  CHECK_FALSE(decode_attachments(encode(AttachmentsValue{2, {two, one}})));
  CHECK_FALSE(decode_attachments(encode(AttachmentsValue{2, {one, one}})));
  CHECK_FALSE(decode_attachments(encode(AttachmentsValue{2, {one, other}})));
  other.state = static_cast<AttachmentState>(4);
  CHECK_FALSE(decode_attachments(encode(AttachmentsValue{2, {one, other}})));
}

TEST_CASE("a node in no known state, or a value of a later format, is refused") {
  std::string bytes = encode(sample_node());
  for (const char state : {'\0', '\4', '\177'}) {
    bytes[1] = state;
    CHECK_FALSE(decode_node(bytes));
  }
  // A policy needs format 2, and format 2 needs a policy; tags stand in order.
  bytes = encode(sample_node_with_policies());
  CHECK(bytes[0] == 2);
  bytes[0] = 1;
  CHECK_FALSE(decode_node(bytes));
  bytes = encode(sample_node());
  bytes[0] = 2;
  CHECK_FALSE(decode_node(bytes));
  CHECK_FALSE(decode_node(bytes + std::string(17, '\0')));
  NodeValue twice = sample_node();
  twice.holds = {"a", "a"};
  CHECK_FALSE(decode_node(encode(twice)));
  // A group needs format 3, with policies or without, and format 3 needs a group.
  NodeValue grouped = sample_node();
  grouped.group = {{7}, 3};
  bytes = encode(grouped);
  CHECK(bytes[0] == 3);
  CHECK(decode_node(bytes)->group == grouped.group);
  bytes[0] = 2;
  CHECK_FALSE(decode_node(bytes));
  const std::size_t id = bytes.size() - 16;
  const std::size_t taken = bytes.size() - 8;
  bytes = encode(grouped);
  CHECK((bytes[id] == 7 && bytes[taken] == 3));
  bytes[id] = 0;
  CHECK_FALSE(decode_node(bytes));
  bytes = encode(grouped);
  bytes[taken] = 1;
  CHECK_FALSE(decode_node(bytes));
  CHECK_FALSE(newer_node(bytes));
  bytes[0] = 4;
  CHECK(newer_node(bytes));
  bytes = encode(BranchValue{});
  bytes[0] = 2;
  CHECK_FALSE(decode_branch(bytes));
}

TEST_CASE("a disk without policies is written as before there were any; one encoding for each value") {
  const DiskValue plain{"vm", {2}, 3};
  CHECK(encode(plain)[0] == 1);
  const DiskValue strict{"vm", {2}, 3, kDiskStrict};
  std::string bytes = encode(strict);
  CHECK(bytes[0] == 2);
  CHECK(decode_disk(bytes)->strict());
  CHECK_FALSE(decode_disk(encode(plain))->strict());
  constexpr std::size_t kFlags = 1 + 8 + 8;
  bytes[kFlags] = 0;  // no flags in the second format
  CHECK_FALSE(decode_disk(bytes));
  CHECK_FALSE(newer_disk(bytes));
}

TEST_CASE("a disk with a policy that is not known here is refused as newer, not as damaged") {
  std::string bytes = encode(DiskValue{"vm", {2}, 3, kDiskStrict | std::uint64_t{1} << 40});
  CHECK_FALSE(decode_disk(bytes));
  CHECK(newer_disk(bytes));
  CHECK_FALSE(newer_disk(bytes.substr(0, bytes.size() - 1)));
  bytes[0] = 3;
  CHECK_FALSE(decode_disk(bytes));
  CHECK(newer_disk(bytes));
  CHECK_FALSE(newer_disk(encode(DiskValue{"vm", {2}, 3, kDiskStrict})));
  CHECK_FALSE(newer_disk(encode(DiskValue{"vm", {2}, 3})));
  CHECK_FALSE(newer_disk(""));
}

TEST_CASE("an id is found in its key only") {
  CHECK(id_of_key(node_key({0x1234}), "node/") == 0x1234);
  CHECK(id_of_key(node_key({0x1234}), "node") == 0x1234);
  CHECK_FALSE(id_of_key(node_key({1}), "disk/"));
  CHECK_FALSE(id_of_key(kCountersKey, "node/"));
  CHECK_FALSE(id_of_key("node/00000000000000FF", "node/"));
  CHECK_FALSE(id_of_key("node/00000000000000f", "node/"));
  CHECK_FALSE(id_of_key("node/00000000000000ff0", "node/"));
  CHECK_FALSE(id_of_key("nodes/00000000000000ff", "node"));
}
