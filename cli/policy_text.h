// What keeps a snapshot, or ends it, in words: one wording for every listing.
//
// Pure.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "coppice/store.h"

namespace coppice::cli {

// "a, b"; empty texts are left out.
std::string joined(const std::vector<std::string>& texts);
// "held by nightly, web-team, expires in 3 days"; empty where nothing is to be said.
std::string policy_text(const NodeInfo& node, std::int64_t now_unix_ms);

// A warning about snapshots that have stood for more than 30 days and that nothing will end: no hold, no end
// and no schedule. Empty if there are none.
// "quota 10 GiB, 4 GiB charged"; empty where there is none.
[[nodiscard]] std::string quota_text(const QuotaInfo& quota);
std::string old_snapshots_text(const std::vector<NodeInfo>& nodes, std::int64_t now_unix_ms);

}  // namespace coppice::cli
