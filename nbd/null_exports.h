// NullExports: one export that reads as zeroes and forgets what is written to it: what the protocol costs,
// alone.
//
// Lives on the reactor's thread.
#pragma once

#include "nbd/exports.h"

namespace coppice::nbd {

class NullExports final : public Exports {
 public:
  static constexpr const char* kName = "null";
  static constexpr std::uint64_t kSizeBytes = std::uint64_t{1} << 40;

  Task<Outcome<std::vector<ExportInfo>>> list() override;
  Task<Outcome<ExportInfo>> describe(std::string name) override;
  Task<Outcome<std::vector<std::string>>> bases(std::string name, std::size_t most) override;
  Outcome<std::string> base_export(std::string name, std::string since) override;
  Task<Outcome<std::vector<DiffRange>>> changes(std::string name, std::string since) override;
  Task<Outcome<std::unique_ptr<BlockDevice>>> open(std::string name, Holder holder) override;
  Task<Outcome<std::unique_ptr<BlockDevice>>> open_read_only(std::string name, Holder holder) override;
};

}  // namespace coppice::nbd
