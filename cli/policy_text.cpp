#include "cli/policy_text.h"

#include "cli/time_text.h"

namespace coppice::cli {

std::string joined(const std::vector<std::string>& texts) {
  std::string all;
  for (const auto& text : texts) {
    if (!text.empty()) all += (all.empty() ? "" : ", ") + text;
  }
  return all;
}

std::string policy_text(const NodeInfo& node, std::int64_t now_unix_ms) {
  std::vector<std::string> parts;
  if (!node.holds.empty()) parts.push_back("held by " + joined(node.holds));
  if (node.expires_unix_ms != 0) parts.push_back("expires " + format_until(node.expires_unix_ms, now_unix_ms));
  return joined(parts);
}

}  // namespace coppice::cli
