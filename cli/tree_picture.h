// Draws the snapshot tree for a person.
//
// A pure function of its arguments. Time runs down the page: a line of snapshots stays in one column, however
// long; a branch forks off to the right below the snapshot that it starts from; the last of a node's
// children, straight below it, is the one that leads to its disk's head. `●` is a head, `○` a snapshot, `◌`
// what is left of one whose data was given up, `×` a deleted one whose space is being reclaimed: shown only
// where branches part at it, else left out. A long run of plain snapshots - nobody holds, uses or cloned one,
// or wrote a note - is folded to one line between its ends.
#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "coppice/store.h"

namespace coppice::cli {

struct TreeView {
  bool all = false;                // fold nothing
  std::size_t depth = SIZE_MAX;    // branches that part off deeper than this are one line
  std::int64_t since_unix_ms = 0;  // plain snapshots that are older are folded, however few
  // What the snapshots of a folded run take for themselves. May be empty, or not know.
  std::function<std::optional<std::uint64_t>(const Spec& first, const Spec& last)> own_bytes = {};
};

// `nodes`: parents before their children, as Store::tree() gives them. Ends in a newline unless empty.
[[nodiscard]] std::string draw_tree(const std::vector<NodeInfo>& nodes, std::int64_t now_unix_ms,
                                    const TreeView& view = {});

}  // namespace coppice::cli
