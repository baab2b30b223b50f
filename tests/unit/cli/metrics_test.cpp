// Metrics as Prometheus reads them.
#include <catch2/catch.hpp>
#include <set>
#include <sstream>

#include "cli/metrics_text.h"

namespace coppice::cli {
namespace {

MetricsSource sample() {
  MetricsSource source;
  NodeInfo head;
  head.kind = NodeInfo::Kind::kHead;
  head.disk = "web";
  head.size_bytes = 4096;
  head.attachments = 2;
  NodeInfo snapshot = head;
  snapshot.kind = NodeInfo::Kind::kSnapshot;
  snapshot.snapshot = "a";
  NodeInfo gone = snapshot;
  gone.kind = NodeInfo::Kind::kDeleted;
  NodeInfo other = head;
  other.disk = "db";
  other.attachments = 0;
  other.quota.limit_bytes = 7;
  source.nodes = {snapshot, gone, head, other};
  source.pools = {
      {.path = "/a \"b\"\\c", .size_bytes = 100, .used_bytes = 40, .reserved_bytes = 3, .room_bytes = 9}};
  source.trash.resize(3);
  source.reclaim = {5, 10, 20};
  return source;
}

TEST_CASE("each metric is named once, explained and typed before its samples") {
  std::istringstream text(metrics_text(sample()));
  std::set<std::string> seen;
  std::string name;
  for (std::string line; std::getline(text, line);) {
    if (line.starts_with("# HELP ")) {
      name = line.substr(7, line.find(' ', 7) - 7);
      CHECK(seen.insert(name).second);
      REQUIRE(std::getline(text, line));
      CHECK(line == "# TYPE " + name + " gauge");
    } else {
      CHECK((line.starts_with(name + " ") || line.starts_with(name + "{")));
    }
  }
  CHECK(seen.size() > 10);
}

TEST_CASE("metrics count what is there") {
  const std::string text = metrics_text(sample());
  for (const char* line :
       {"coppice_pool_used_bytes{pool=\"/a \\\"b\\\"\\\\c\"} 40", "coppice_disks 2", "coppice_snapshots 1",
        "coppice_trash_disks 3", "coppice_disk_size_bytes{disk=\"web\"} 4096",
        "coppice_disk_snapshots{disk=\"db\"} 0", "coppice_disk_snapshots{disk=\"web\"} 1",
        "coppice_disk_clients{disk=\"web\"} 2", "coppice_disk_quota_bytes{disk=\"db\"} 7",
        "coppice_reclaim_nodes 5", "coppice_reclaim_looked_bytes 10", "coppice_reclaim_total_bytes 20"}) {
    INFO(line);
    CHECK(text.find(std::string("\n") + line + "\n") != std::string::npos);
  }
}

}  // namespace
}  // namespace coppice::cli
