// StoreExports: the disks of a store as exports: `disk` for reading and writing, `disk@snapshot` for reading,
// `disk/attach:TOKEN` for the owner of an attachment.
//
// While a disk has an attachment that is not fenced, its plain export is for reading. Attachments aren't
// listed: whoever knows the token may write. Lives on the store's reactor; the store outlives it.
#pragma once

#include "nbd/exports.h"

namespace coppice::nbd {

struct ExportName {
  Spec spec;
  std::string token;  // of an attachment; else empty
};
// What a client asks for by this name, or why that is none.
Outcome<ExportName> parse_export_name(const std::string& name);
// "web/attach:5f0c…"
std::string attachment_export(const std::string& disk, const std::string& token);

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
  Task<Outcome<std::unique_ptr<BlockDevice>>> open_read_only(std::string name, Holder holder) override;

 private:
  // Whether somebody has the right to write that others don't.
  Task<bool> attached(std::string disk);

  Store& store_;
};

}  // namespace coppice::nbd
