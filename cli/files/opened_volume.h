// OpenedVolume: a snapshot's file system, mounted by whatever can, for one command.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "cli/files/guest_mount.h"
#include "cli/files/own_tree.h"
#include "cli/files/same_content.h"
#include "cli/files/volumes.h"

namespace coppice::cli {

// As the options say.
struct Wanted {
  std::string partition;  // its number; empty: chosen
  std::string device;     // what libguestfs calls it; empty: by its partition
  std::string engine = "auto";
};
Outcome<> check_wanted(const Wanted& wanted);

struct OpenedVolume {
  UniqueFd image;
  Volume volume;
  std::optional<GuestMount> guest;
  UniqueFd loop;

  [[nodiscard]] int root() const { return guest ? guest->root() : loop.get(); }
  [[nodiscard]] Telling telling() const { return telling_of(volume.type, !guest); }
};

// `store` is its folder, which may be hidden from this process by it. The tree outlives what is opened.
Outcome<OpenedVolume> open_volume(OwnTree& tree, const Spec& snapshot, const Wanted& wanted,
                                  const std::string& store);

}  // namespace coppice::cli
