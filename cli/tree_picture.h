// Draws the snapshot tree for a person.
//
// A pure function of its arguments. Time runs down the page: a line of snapshots stays in one column, however
// long; a branch forks off to the right below the snapshot that it starts from; the last of a node's
// children, straight below it, is the one that leads to its disk's head. `●` is a head, `○` a snapshot, `×` a
// deleted one whose space is being reclaimed: shown only where branches part at it, else left out.
#pragma once

#include <string>
#include <vector>

#include "coppice/store.h"

namespace coppice::cli {

// `nodes`: parents before their children, as Store::tree() gives them. Ends in a newline unless empty.
[[nodiscard]] std::string draw_tree(const std::vector<NodeInfo>& nodes, std::int64_t now_unix_ms);

}  // namespace coppice::cli
