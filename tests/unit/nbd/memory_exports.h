// Exports of disks in memory. A name with an @ is read-only.
#pragma once

#include <map>

#include "memory_device.h"
#include "nbd/exports.h"

namespace coppice::test {

class MemoryExports final : public nbd::Exports {
 public:
  MemoryDisk& add(Scheduler& scheduler, const std::string& name, std::uint64_t size_bytes) {
    return disks_.try_emplace(name, scheduler, size_bytes).first->second;
  }

  Task<Outcome<std::vector<nbd::ExportInfo>>> list() override {
    std::vector<nbd::ExportInfo> exports;
    for (const auto& [name, disk] : disks_) exports.push_back(info_of(name, disk));
    co_return exports;
  }

  Task<Outcome<nbd::ExportInfo>> describe(std::string name) override {
    const auto found = disks_.find(name);
    if (found == disks_.end()) co_return unknown(name);
    co_return info_of(name, found->second);
  }

  // Bases are the disks named `disk@snapshot`; what changed since is what the test says.
  std::map<std::string, std::vector<DiffRange>> changed;  // by the base
  unsigned asked_for_changes = 0;
  Task<Outcome<std::vector<std::string>>> bases(std::string name, std::size_t most) override {
    std::vector<std::string> names;
    for (const auto& [other, disk] : disks_) {
      if (other.starts_with(name + "@") && names.size() < most)
        names.push_back(other.substr(name.size() + 1));
    }
    co_return names;
  }
  Outcome<std::string> base_export(std::string name, std::string since) override {
    return name.substr(0, name.find('@')) + "@" + since;
  }
  Task<Outcome<std::vector<DiffRange>>> changes(std::string name, std::string since) override {
    ++asked_for_changes;
    co_return changed[*base_export(name, since)];
  }
  Task<Outcome<std::unique_ptr<BlockDevice>>> open(std::string name, Holder holder) override {
    const auto found = disks_.find(name);
    if (found == disks_.end()) co_return unknown(name);
    last_holder = holder.description;
    co_return std::make_unique<MemoryDevice>(found->second, info_of(name, found->second).read_only);
  }
  Task<Outcome<std::unique_ptr<BlockDevice>>> open_read_only(std::string name, Holder holder) override {
    const auto found = disks_.find(name);
    if (found == disks_.end()) co_return unknown(name);
    last_holder = holder.description;
    co_return std::make_unique<MemoryDevice>(found->second, true);
  }

  std::string last_holder;

 private:
  static std::unexpected<Failure> unknown(const std::string& name) {
    return refuse(ErrorKind::kNotFound, "no disk '" + name + "'");
  }
  static nbd::ExportInfo info_of(const std::string& name, const MemoryDisk& disk) {
    return {.name = name,
            .description = "disk " + name + " in memory",
            .size_bytes = disk.size_bytes(),
            .read_only = name.find('@') != name.npos};
  }
  std::map<std::string, MemoryDisk> disks_;
};

}  // namespace coppice::test
