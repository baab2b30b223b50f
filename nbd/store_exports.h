// StoreExports: the disks of a store as exports: `disk` for reading and writing, `disk@snapshot` for reading.
//
// Lives on the store's reactor; the store outlives it.
#pragma once

#include "nbd/exports.h"

namespace coppice::nbd {

class StoreExports final : public Exports {
 public:
  explicit StoreExports(Store& store) : store_(store) {}
  Task<Outcome<std::vector<ExportInfo>>> list() override;
  Task<Outcome<ExportInfo>> describe(std::string name) override;
  Task<Outcome<std::unique_ptr<BlockDevice>>> open(std::string name, Holder holder) override;

 private:
  Store& store_;
};

}  // namespace coppice::nbd
