// BaseImages: where the bases of disks come from: the file system, or the simulator.
//
// A base is known again by its size and its time of change, and by its inode or by samples of its content; a
// block device by size and samples. Blocking calls, on the store's scheduler.
#pragma once

#include <memory>

#include "coppice/store.h"
#include "disk/base.h"
#include "layout/tree_values.h"

namespace coppice {

class BaseImages {
 public:
  virtual ~BaseImages() = default;
  // What is to be kept of an image. Refuses what can't be opened, or is another than the descriptor's.
  virtual Outcome<BaseValue> identify(const BaseSource& source) = 0;
  // Never null: what is not there, or not the same any more, has a problem.
  virtual BasePointer open(const BaseValue& value) = 0;
};

std::shared_ptr<BaseImages> make_base_images(Reactor& reactor);

}  // namespace coppice
