#include "cli/policy_text.h"

namespace coppice::cli {

std::string joined(const std::vector<std::string>& texts) {
  std::string all;
  for (const auto& text : texts) {
    if (!text.empty()) all += (all.empty() ? "" : ", ") + text;
  }
  return all;
}

std::string policy_text(const NodeInfo& node) {
  if (node.holds.empty()) return {};
  return "held by " + joined(node.holds);
}

}  // namespace coppice::cli
