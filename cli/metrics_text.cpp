#include "cli/metrics_text.h"

#include <fmt/format.h>

#include <functional>
#include <map>

#include "cli/version.h"

namespace coppice::cli {
namespace {

std::string escaped(const std::string& value) {
  std::string text;
  for (const char byte : value) {
    if (byte == '\\' || byte == '"') text += '\\';
    text += byte == '\n' ? std::string("\\n") : std::string(1, byte);
  }
  return text;
}

class Exposition {
 public:
  // Its samples follow. All are gauges: they go up and down, or begin anew with the process.
  Exposition& metric(const char* name, const char* help) {
    name_ = name;
    text_ += fmt::format("# HELP {0} {1}\n# TYPE {0} gauge\n", name, help);
    return *this;
  }
  Exposition& sample(std::uint64_t value) {
    text_ += fmt::format("{} {}\n", name_, value);
    return *this;
  }
  Exposition& sample(const char* label, const std::string& of, std::uint64_t value) {
    text_ += fmt::format("{}{{{}=\"{}\"}} {}\n", name_, label, escaped(of), value);
    return *this;
  }
  [[nodiscard]] std::string text() && { return std::move(text_); }

 private:
  std::string name_;
  std::string text_;
};

struct DiskMetrics {
  NodeInfo head;
  std::uint64_t snapshots = 0;
};

}  // namespace

std::string metrics_text(const MetricsSource& source) {
  std::map<std::string, DiskMetrics> disks;
  std::uint64_t snapshots = 0;
  for (const NodeInfo& node : source.nodes) {
    if (node.kind == NodeInfo::Kind::kHead) disks[node.disk].head = node;
    if (node.kind != NodeInfo::Kind::kSnapshot) continue;
    ++snapshots;
    ++disks[node.disk].snapshots;
  }
  Exposition all;
  all.metric("coppice_info", "What answers.").sample("version", kVersion, 1);
  const auto each_pool = [&](const char* name, const char* help, std::uint64_t PoolInfo::* value) {
    all.metric(name, help);
    for (const PoolInfo& pool : source.pools) all.sample("pool", pool.path, pool.*value);
  };
  each_pool("coppice_pool_size_bytes", "Room for data that the pool has now.", &PoolInfo::size_bytes);
  each_pool("coppice_pool_used_bytes",
            "Allocated to disks and snapshots, with what is still to be given back.", &PoolInfo::used_bytes);
  each_pool("coppice_pool_reserved_bytes", "What the store has taken for itself; told with the first pool.",
            &PoolInfo::reserved_bytes);
  each_pool("coppice_pool_room_bytes", "What the pool can still get of its file system.",
            &PoolInfo::room_bytes);
  all.metric("coppice_disks", "Disks.").sample(disks.size());
  all.metric("coppice_snapshots", "Snapshots of all disks.").sample(snapshots);
  all.metric("coppice_trash_disks", "Removed disks that can be brought back.").sample(source.trash.size());
  const auto each_disk = [&](const char* name, const char* help,
                             const std::function<std::uint64_t(const DiskMetrics&)>& value) {
    all.metric(name, help);
    for (const auto& [disk, metrics] : disks) all.sample("disk", disk, value(metrics));
  };
  each_disk("coppice_disk_size_bytes", "The size of the disk.",
            [](const DiskMetrics& disk) { return disk.head.size_bytes; });
  each_disk("coppice_disk_snapshots", "Snapshots of the disk.",
            [](const DiskMetrics& disk) { return disk.snapshots; });
  each_disk("coppice_disk_clients", "Who has the disk open.",
            [](const DiskMetrics& disk) { return disk.head.attachments; });
  each_disk("coppice_disk_quota_bytes", "What the disk may take of the pool; 0: as much as there is.",
            [](const DiskMetrics& disk) { return disk.head.quota.limit_bytes; });
  const ReclaimInfo& reclaim = source.reclaim;
  all.metric("coppice_reclaim_nodes", "Removed snapshots and disks whose space is on its way back.")
      .sample(reclaim.nodes);
  all.metric("coppice_reclaim_looked_bytes", "So much of what those covered was looked through.")
      .sample(reclaim.looked_bytes);
  all.metric("coppice_reclaim_total_bytes", "What those covered.").sample(reclaim.total_bytes);
  return std::move(all).text();
}

}  // namespace coppice::cli
