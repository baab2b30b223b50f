// Exports: what a server has to offer, by name. The server knows nothing of stores.
//
// All calls on the reactor of the server.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "coppice/block_device.h"
#include "coppice/result.h"
#include "coppice/store.h"
#include "coppice/task.h"

namespace coppice::nbd {

struct ExportInfo {
  std::string name;
  std::string description;
  std::uint64_t size_bytes = 0;
  bool read_only = false;
  bool one_client = false;  // who comes next has the one before leave
};

class Exports {
 public:
  virtual ~Exports() = default;
  virtual Task<Outcome<std::vector<ExportInfo>>> list() = 0;
  // Looks without attaching.
  virtual Task<Outcome<ExportInfo>> describe(std::string name) = 0;
  // Snapshots that the export can be compared with, under the names that changes() takes; the youngest
  // `most`.
  virtual Task<Outcome<std::vector<std::string>>> bases(std::string name, std::size_t most) = 0;
  // Whether it can be compared with; it need not be an export of its own.
  virtual Task<bool> has_base(std::string base) {
    const auto there = co_await describe(base);
    co_return there.has_value();
  }
  // The base stays for as long as the device lives, which may read nothing.
  virtual Task<Outcome<std::unique_ptr<BlockDevice>>> open_base(std::string base, Holder holder) {
    auto device = co_await open(base, holder);
    co_return device;
  }
  // The export that a base is, or a refusal.
  virtual Outcome<std::string> base_export(std::string name, std::string since) = 0;
  // Where the export differs from the base: in order, not overlapping.
  virtual Task<Outcome<std::vector<DiffRange>>> changes(std::string name, std::string since) = 0;
  // The export is attached for as long as the device lives.
  virtual Task<Outcome<std::unique_ptr<BlockDevice>>> open(std::string name, Holder holder) = 0;
  // In no writer's way, whatever it is.
  virtual Task<Outcome<std::unique_ptr<BlockDevice>>> open_read_only(std::string name, Holder holder) = 0;
};

}  // namespace coppice::nbd
