#include "cli/policy_text.h"

#include "cli/time_text.h"
#include "coppice/bytes.h"

namespace coppice::cli {
namespace {

constexpr std::int64_t kOldMs = std::int64_t{30} * 24 * 3'600 * 1'000;

}  // namespace

std::string joined(const std::vector<std::string>& texts) {
  std::string all;
  for (const auto& text : texts) {
    if (!text.empty()) all += (all.empty() ? "" : ", ") + text;
  }
  return all;
}

std::string quota_text(const QuotaInfo& quota) {
  if (quota.limit_bytes == 0) return {};
  const std::string charged =
      quota.charged_bytes ? ", " + format_size(*quota.charged_bytes) + " charged" : "";
  return "quota " + format_size(quota.limit_bytes) + charged;
}

std::string policy_text(const NodeInfo& node, std::int64_t now_unix_ms) {
  std::vector<std::string> parts;
  if (node.group.id != 0) parts.push_back("one of " + std::to_string(node.group.taken) + " taken together");
  if (!node.holds.empty()) parts.push_back("held by " + joined(node.holds));
  if (node.expires_unix_ms != 0)
    parts.push_back("expires " + format_until(node.expires_unix_ms, now_unix_ms));
  if (node.scheduled) parts.emplace_back("scheduled");
  return joined(parts);
}

std::string old_snapshots_text(const std::vector<NodeInfo>& nodes, std::int64_t now_unix_ms) {
  std::size_t count = 0;
  const NodeInfo* oldest = nullptr;
  for (const NodeInfo& node : nodes) {
    const bool ends = !node.holds.empty() || node.expires_unix_ms != 0 || node.scheduled;
    const bool old = now_unix_ms - node.created_unix_ms > kOldMs;
    if (node.kind != NodeInfo::Kind::kSnapshot || ends || !old) continue;
    ++count;
    if (oldest == nullptr || node.created_unix_ms < oldest->created_unix_ms) oldest = &node;
  }
  if (count == 0) return {};
  const std::string name = oldest->disk + "@" + oldest->snapshot;
  const std::string age = format_age(oldest->created_unix_ms, now_unix_ms);
  const std::string which = count == 1
                                ? name + " was taken " + age
                                : std::to_string(count) + " snapshots are older than 30 days (the oldest, " +
                                      name + ", was taken " + age + ")";
  return which +
         ": snapshots are short-term tools, no backup, and their space grows; remove what is not needed, or "
         "say "
         "how long it stays with expire or hold";
}

}  // namespace coppice::cli
