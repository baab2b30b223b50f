#include <catch2/catch.hpp>

#include "cli/tree_picture.h"

namespace coppice::cli {
namespace {

using Kind = NodeInfo::Kind;
constexpr std::int64_t kNow = 1'000'000'000'000;
constexpr std::int64_t kMinute = 60'000;
constexpr std::uint64_t kGiB = std::uint64_t{1} << 30;

NodeInfo node(std::uint64_t id, std::uint64_t parent, Kind kind, std::string disk,
              std::string snapshot = "") {
  NodeInfo info;
  info.id = id;
  info.parent = parent;
  info.kind = kind;
  info.disk = std::move(disk);
  info.snapshot = std::move(snapshot);
  info.size_bytes = kGiB;
  info.created_unix_ms = kNow - kMinute * (100 - static_cast<std::int64_t>(std::min<std::uint64_t>(id, 30)));
  return info;
}

TEST_CASE("no nodes, no picture") {
  CHECK(draw_tree({}, kNow).empty());
}

TEST_CASE("a disk without snapshots is a head") {
  CHECK(draw_tree({node(1, 0, Kind::kHead, "web")}, kNow) == "● web (head)  1.0 GiB  1 hour ago\n");
}

TEST_CASE("branches fork to the right and the disk's own line goes on below") {
  const std::vector<NodeInfo> nodes = {node(1, 0, Kind::kSnapshot, "web", "base"),
                                       node(2, 1, Kind::kSnapshot, "web", "s1"),
                                       node(3, 2, Kind::kSnapshot, "web", "s2"),
                                       node(4, 3, Kind::kSnapshot, "web", "kept"),
                                       node(5, 1, Kind::kHead, "test"),
                                       node(6, 2, Kind::kHead, "web")};
  CHECK(draw_tree(nodes, kNow) ==
        "○ web@base       1.0 GiB  1 hour ago\n"
        "├─● test (head)  1.0 GiB  1 hour ago  cloned from web@base\n"
        "○ web@s1         1.0 GiB  1 hour ago\n"
        "├─○ web@s2       1.0 GiB  1 hour ago\n"
        "│ ○ web@kept     1.0 GiB  1 hour ago\n"
        "● web (head)     1.0 GiB  1 hour ago\n");
}

TEST_CASE("a branch with branches of its own") {
  const std::vector<NodeInfo> nodes = {node(1, 0, Kind::kSnapshot, "a", "1"),
                                       node(2, 1, Kind::kSnapshot, "b", "1"), node(3, 2, Kind::kHead, "c"),
                                       node(4, 2, Kind::kHead, "b"), node(5, 1, Kind::kHead, "a")};
  CHECK(draw_tree(nodes, kNow) ==
        "○ a@1           1.0 GiB  1 hour ago\n"
        "├─○ b@1         1.0 GiB  1 hour ago  cloned from a@1\n"
        "│ ├─● c (head)  1.0 GiB  1 hour ago  cloned from b@1\n"
        "│ ● b (head)    1.0 GiB  1 hour ago\n"
        "● a (head)      1.0 GiB  1 hour ago\n");
}

TEST_CASE("a deleted node is left out of a line, and shown where branches part") {
  const std::vector<NodeInfo> line = {node(1, 0, Kind::kSnapshot, "web", "a"),
                                      node(2, 1, Kind::kDeleted, "web"), node(3, 2, Kind::kDeleted, "web"),
                                      node(4, 3, Kind::kHead, "web")};
  CHECK(draw_tree(line, kNow) ==
        "○ web@a       1.0 GiB  1 hour ago\n"
        "● web (head)  1.0 GiB  1 hour ago\n");
  const std::vector<NodeInfo> fork = {node(1, 0, Kind::kDeleted, "web"), node(2, 1, Kind::kHead, "web"),
                                      node(3, 1, Kind::kSnapshot, "web", "kept")};
  CHECK(draw_tree(fork, kNow) ==
        "× (deleted)\n"
        "├─○ web@kept  1.0 GiB  1 hour ago\n"
        "● web (head)  1.0 GiB  1 hour ago\n");
  const std::vector<NodeInfo> dead_end = {node(1, 0, Kind::kSnapshot, "web", "a"),
                                          node(2, 1, Kind::kDeleted, "web"), node(3, 1, Kind::kHead, "web")};
  CHECK(draw_tree(dead_end, kNow) ==
        "○ web@a       1.0 GiB  1 hour ago\n"
        "● web (head)  1.0 GiB  1 hour ago\n");
}

TEST_CASE("trees stand apart, use and notes are told, and nothing moves the cursor") {
  auto web = node(1, 0, Kind::kSnapshot, "web", "a");
  web.note = "before\nupgrade";
  auto head = node(2, 1, Kind::kHead, "web");
  head.attachments = 1;
  head.policy.strict = true;
  const std::vector<NodeInfo> nodes = {web, head, node(3, 0, Kind::kHead, "x"), node(4, 0, Kind::kHead, "y")};
  CHECK(draw_tree(nodes, kNow) ==
        "○ web@a       1.0 GiB  1 hour ago  “before?upgrade”\n"
        "● web (head)  1.0 GiB  1 hour ago  in use, strict\n"
        "\n"
        "● x (head)    1.0 GiB  1 hour ago\n"
        "● y (head)    1.0 GiB  1 hour ago\n");
}

TEST_CASE("a long name pushes its own row aside, and no other") {
  const std::string name(60, 'x');
  const std::vector<NodeInfo> nodes = {node(1, 0, Kind::kSnapshot, "web", "a"),
                                       node(2, 1, Kind::kSnapshot, "web", name),
                                       node(3, 2, Kind::kHead, "web")};
  CHECK(draw_tree(nodes, kNow) ==
        "○ web@a       1.0 GiB  1 hour ago\n"
        "○ web@" +
            name +
            "  1.0 GiB  1 hour ago\n"
            "● web (head)  1.0 GiB  1 hour ago\n");
}

std::vector<NodeInfo> line_of(std::uint64_t count) {
  std::vector<NodeInfo> nodes;
  for (std::uint64_t id = 1; id <= count; ++id)
    nodes.push_back(node(id, id - 1, Kind::kSnapshot, "web", std::to_string(id)));
  nodes.push_back(node(count + 1, count, Kind::kHead, "web"));
  return nodes;
}

std::size_t lines_of(const std::string& text) {
  return static_cast<std::size_t>(std::count(text.begin(), text.end(), '\n'));
}

TEST_CASE("all of a line of ten thousand snapshots stays in one column") {
  const std::string picture = draw_tree(line_of(10'000), kNow, {.all = true});
  CHECK(lines_of(picture) == 10'001);
  CHECK(picture.find("├") == std::string::npos);
}

TEST_CASE("a long run of plain snapshots is one line between its ends") {
  TreeView view;
  std::string asked;
  view.own_bytes = [&asked](const Spec& first, const Spec& last) {
    asked = first.text() + " to " + last.text();
    return std::optional(12 * kGiB);
  };
  const std::string picture = draw_tree(line_of(10'000), kNow, view);
  CHECK(lines_of(picture) == 6);
  CHECK(picture.find("\n… 9,996 snapshots, 12.0 GiB own\n") != std::string::npos);
  CHECK(asked == "web@3 to web@9998");
  CHECK(draw_tree(line_of(10'000), kNow).find("\n… 9,996 snapshots\n") != std::string::npos);
  CHECK(lines_of(draw_tree(line_of(13), kNow)) == 14);
  CHECK(lines_of(draw_tree(line_of(14), kNow)) == 6);
}

TEST_CASE("what there is something to tell of is not folded") {
  std::vector<NodeInfo> nodes = line_of(60);
  nodes[29].note = "before the upgrade";
  nodes[44].holds = {"audit"};
  const std::string picture = draw_tree(nodes, kNow);
  CHECK(picture.find("before the upgrade") != std::string::npos);
  CHECK(picture.find("held by audit") != std::string::npos);
  CHECK(picture.find("… 25 snapshots\n") != std::string::npos);
  CHECK(picture.find("… 10 snapshots\n") != std::string::npos);
  // Where a branch parts off the run ends.
  nodes = line_of(60);
  nodes.push_back(node(100, 30, Kind::kHead, "copy"));
  nodes[29].clones = {"copy"};
  const std::string forked = draw_tree(nodes, kNow);
  CHECK(forked.find("├─● copy (head)") != std::string::npos);
  CHECK(forked.find("… 25 snapshots\n") != std::string::npos);
  CHECK(forked.find("… 26 snapshots\n") != std::string::npos);
}

TEST_CASE("older snapshots are folded however few, disks never") {
  std::vector<NodeInfo> nodes = {node(1, 0, Kind::kSnapshot, "web", "a"),
                                 node(2, 1, Kind::kSnapshot, "web", "b"),
                                 node(3, 2, Kind::kSnapshot, "web", "c"), node(4, 3, Kind::kHead, "web"),
                                 node(5, 0, Kind::kHead, "old")};
  CHECK(draw_tree(nodes, kNow, {.since_unix_ms = nodes[2].created_unix_ms}) ==
        "… 2 older snapshots\n"
        "○ web@c              1.0 GiB  1 hour ago\n"
        "● web (head)         1.0 GiB  1 hour ago\n"
        "\n"
        "● old (head)         1.0 GiB  1 hour ago\n");
}

TEST_CASE("branches deeper than is asked for are counted") {
  const std::vector<NodeInfo> nodes = {node(1, 0, Kind::kSnapshot, "a", "1"),
                                       node(2, 1, Kind::kSnapshot, "b", "1"), node(3, 2, Kind::kHead, "c"),
                                       node(4, 2, Kind::kHead, "b"), node(5, 1, Kind::kHead, "a")};
  CHECK(draw_tree(nodes, kNow, {.depth = 0}) ==
        "○ a@1                              1.0 GiB  1 hour ago\n"
        "├─… 1 branch: 2 disks, 1 snapshot\n"
        "● a (head)                         1.0 GiB  1 hour ago\n");
  CHECK(draw_tree(nodes, kNow, {.depth = 1}) ==
        "○ a@1                                1.0 GiB  1 hour ago\n"
        "├─○ b@1                              1.0 GiB  1 hour ago  cloned from a@1\n"
        "│ ├─… 1 branch: 1 disk, 0 snapshots\n"
        "│ ● b (head)                         1.0 GiB  1 hour ago\n"
        "● a (head)                           1.0 GiB  1 hour ago\n");
  CHECK(draw_tree(nodes, kNow, {.depth = 2}) == draw_tree(nodes, kNow));
}

}  // namespace
}  // namespace coppice::cli
