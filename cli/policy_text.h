// What keeps a snapshot, or ends it, in words: one wording for every listing.
//
// Pure.
#pragma once

#include <cstdint>
#include <string>

#include "coppice/store.h"

namespace coppice::cli {

// "a, b"; empty texts are left out.
std::string joined(const std::vector<std::string>& texts);
// "held by nightly, web-team"; empty where nothing is to be said.
std::string policy_text(const NodeInfo& node);

}  // namespace coppice::cli
