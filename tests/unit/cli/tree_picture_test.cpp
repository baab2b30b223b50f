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
  info.created_unix_ms = kNow - kMinute * static_cast<std::int64_t>(100 - id);
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

TEST_CASE("a line of ten thousand snapshots stays in one column") {
  std::vector<NodeInfo> nodes;
  for (std::uint64_t id = 1; id <= 10'000; ++id) {
    nodes.push_back(node(id, id - 1, Kind::kSnapshot, "web", std::to_string(id)));
  }
  nodes.push_back(node(10'001, 10'000, Kind::kHead, "web"));
  const std::string picture = draw_tree(nodes, kNow);
  CHECK(std::count(picture.begin(), picture.end(), '\n') == 10'001);
  CHECK(picture.find("├") == std::string::npos);
}

}  // namespace
}  // namespace coppice::cli
