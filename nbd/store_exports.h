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
  // A snapshot of the same disk by its bare name, others of the tree as disk@snapshot.
  Task<bool> has_base(std::string base) override;
  Task<Outcome<std::unique_ptr<BlockDevice>>> open_base(std::string base, Holder holder) override;
  Task<Outcome<std::vector<std::string>>> bases(std::string name, std::size_t most) override;
  Outcome<std::string> base_export(std::string name, std::string since) override;
  Task<Outcome<std::vector<DiffRange>>> changes(std::string name, std::string since) override;
  Task<Outcome<std::unique_ptr<BlockDevice>>> open(std::string name, Holder holder) override;

 private:
  Store& store_;
};

}  // namespace coppice::nbd
