// MemoryStore: a Store without an engine, for tests of what stands above it.
//
// A disk is a vector of bytes, a snapshot a copy. Only what the command line's own tests need is there; the
// rest refuses with kUnsupported. One thread.
#pragma once

#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "coppice/store.h"

namespace coppice::test {

class MemoryStore final : public Store {
 public:
  [[nodiscard]] std::string read_only() const override { return {}; }
  struct Image {
    std::vector<std::byte> bytes;
    std::uint64_t attachments = 0;
    std::uint64_t written_bytes = 0;  // ever, by write()
    DiskPolicy policy = {};
    std::string note = {};
    std::vector<std::string> holds = {};
    std::int64_t expires_unix_ms = 0;
  };
  using ImagePointer = std::shared_ptr<Image>;

  Task<Outcome<>> create_disk(std::string name, std::uint64_t size_bytes, DiskPolicy policy = {}) override;
  Task<Outcome<std::uint64_t>> create_disk_over(std::string name, std::uint64_t size_bytes, DiskPolicy policy,
                                                BaseSource base) override;
  Task<Outcome<>> set_base(std::string disk, BaseSource base) override;
  Task<Outcome<>> start_flatten(std::string disk, FlattenPace pace) override;
  Task<Outcome<>> stop_flatten(std::string disk) override;
  Task<Outcome<>> snapshot(std::vector<Spec> specs, SnapshotOptions options) override;
  Task<Outcome<>> hold(Spec snapshot, std::string tag) override;
  Task<Outcome<std::string>> release(Spec snapshot, std::string tag) override;
  Task<Outcome<std::string>> rollback(std::vector<Spec> to, RollbackOptions options) override;
  Task<Outcome<>> clone(Spec from, std::string new_disk) override;
  Task<Outcome<>> remove(std::vector<Spec> specs, bool with_snapshots) override;
  Task<Outcome<>> keep_changes(std::vector<Spec> snapshots) override;
  Task<Outcome<std::int64_t>> trash(std::vector<Spec> specs, bool with_snapshots) override;
  Task<Outcome<RemovalPreview>> preview_removal(std::vector<Spec> specs, bool with_snapshots,
                                                bool to_trash) override;
  Task<Outcome<>> set_schedule(std::string disk, Schedule rules) override;
  Task<Outcome<ScheduleInfo>> schedule(std::string disk, std::optional<Schedule> rules) override;
  Task<Outcome<>> undelete(std::string disk, std::string new_name) override;
  Task<Outcome<>> purge(std::vector<std::string> disks) override;
  Task<Outcome<std::vector<TrashInfo>>> trashed() override;
  Task<Outcome<>> set_expiry(Spec snapshot, std::int64_t expires_unix_ms) override;
  Task<Outcome<>> run_policies() override;
  Task<Outcome<>> rename(Spec from, std::string to) override;
  Task<Outcome<>> resize(std::string disk, std::uint64_t size_bytes) override;
  Task<Outcome<>> set_policy(std::string disk, DiskPolicy policy) override;
  Task<Outcome<AttachmentInfo>> attach(std::string disk, AttachOptions options) override;
  Task<Outcome<std::vector<AttachmentInfo>>> attachments(std::string disk) override;
  Task<Outcome<std::vector<AttachmentInfo>>> detach(std::string disk, std::string token) override;
  Task<Outcome<std::vector<AttachmentInfo>>> detach_all(std::string disk) override;
  Task<Outcome<std::vector<AttachmentInfo>>> fence(std::string disk) override;
  Task<Outcome<>> set_quota(std::string disk, std::uint64_t limit_bytes) override;
  Task<Outcome<std::vector<NodeInfo>>> tree(std::optional<std::string> disk) override;
  Task<Outcome<NodeInfo>> info(Spec spec) override;
  Task<Outcome<GroupInfo>> group(Spec snapshot) override;
  Task<Outcome<ReclaimInfo>> reclaim(std::optional<std::string> disk) override;
  Task<Outcome<std::vector<SpaceInfo>>> space(std::optional<std::string> disk) override;
  Task<Outcome<SetSpace>> space_of(std::vector<Spec> specs, bool own_only) override;
  Task<Outcome<std::vector<Spec>>> range(Spec first, Spec last) override;
  Task<Outcome<std::vector<PoolInfo>>> pools() override;
  Task<Outcome<std::vector<DiffRange>>> diff(Spec from, Spec to, std::uint64_t from_offset) override;
  Task<Outcome<std::unique_ptr<BlockDevice>>> open_device(Spec spec, Access access, Holder holder) override;
  Task<Outcome<std::unique_ptr<BlockDevice>>> open_attachment(std::string disk, std::string token,
                                                              Holder holder) override;
  Task<Outcome<CheckReport>> check(bool read_data) override;
  Task<Outcome<std::string>> dump() override;
  Task<Outcome<>> wait_for_reclaim() override;
  Task<Outcome<>> close() override;

  // By "disk" or "disk@snapshot".
  std::map<std::string, ImagePointer> images;
  std::map<std::string, ImagePointer> trash_images;
  // Fails the n-th write from now on (0: none).
  std::optional<std::uint64_t> writes_until_failure;

 private:
  ImagePointer find(const Spec& spec);
};

}  // namespace coppice::test
