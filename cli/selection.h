// Selection: what a person names to ask about or to remove: a disk, a snapshot, or a range of snapshots.
//
// A range is DISK@A%B: the snapshots of the line that leads from A to B, both included. Without A it begins
// with the line, without B it ends with the disk's last one. '%' can't be in a name.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "coppice/store.h"

namespace coppice::cli {

struct Selection {
  Spec first;  // of a range: a bare disk where its beginning is left out
  Spec last;   // … a bare disk where its end is left out
  bool is_range = false;
};

Outcome<Selection> parse_selection(const std::string& text);
// kWhole: none of them may be missing. Disks that went back without the others would be at a point in time
// that there never was.
enum class GroupNeed : std::uint8_t { kAny, kWhole };
// All that were taken together with these snapshots, each once.
Task<Outcome<std::vector<Spec>>> with_groups(Store& store, std::vector<Spec> named, GroupNeed need);
struct Expansion {
  bool whole_disks = false;  // a disk stands for its snapshots as well
  bool groups = false;       // a snapshot stands for all that were taken with it
};
// What is named, in that order.
Task<Outcome<std::vector<Spec>>> expand(Store& store, std::vector<Selection> selections, Expansion expansion);

}  // namespace coppice::cli
