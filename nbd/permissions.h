// Permissions: what the clients of one listener may see and do; PermittedExports holds them to it.
//
// A disk that isn't shown is, to them, not there: neither listed nor told from one that does not exist, and
// nothing of it shows through the bitmaps of others. A disk's snapshots and attachments are shown with it. On
// a read-only listener nothing is opened for writing, so its clients are in no writer's way. On the reactor
// of the server.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "nbd/exports.h"

namespace coppice::nbd {

struct Permissions {
  bool read_only = false;
  std::vector<std::string> disks = {};  // patterns of the shell; none: all disks

  [[nodiscard]] bool shows(std::string_view export_name) const;
  [[nodiscard]] bool restrict() const { return read_only || !disks.empty(); }
  bool operator==(const Permissions&) const = default;
};

class PermittedExports final : public Exports {
 public:
  // Both outlive it.
  PermittedExports(Exports& all, const Permissions& permissions) : all_(all), permissions_(permissions) {}

  Task<Outcome<std::vector<ExportInfo>>> list() override;
  Task<Outcome<ExportInfo>> describe(std::string name) override;
  Task<Outcome<std::vector<std::string>>> bases(std::string name, std::size_t most) override;
  Task<bool> has_base(std::string base) override;
  Task<Outcome<std::unique_ptr<BlockDevice>>> open_base(std::string base, Holder holder) override;
  Outcome<std::string> base_export(std::string name, std::string since) override;
  Task<Outcome<std::vector<DiffRange>>> changes(std::string name, std::string since) override;
  Task<Outcome<std::unique_ptr<BlockDevice>>> open(std::string name, Holder holder) override;
  Task<Outcome<std::unique_ptr<BlockDevice>>> open_read_only(std::string name, Holder holder) override;

 private:
  Exports& all_;
  const Permissions& permissions_;
};

}  // namespace coppice::nbd
