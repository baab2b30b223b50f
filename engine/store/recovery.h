// Recovery: from what an earlier run left behind to a consistent state in memory and on disk.
//
//   1. redo the journal from the last checkpoint's start;
//   2. if the process died but the kernel lived on (same boot): redo the staging file's tail, and take the
//      blocks whose in-place writes were in flight as they stand;
//   3. put the tail into the journal, so that it no longer depends on the staging file;
//   4. checkpoint.
// Killed at any point it starts over and ends the same: the staging file is untouched until all this is done.
#pragma once

#include "disk/parts.h"
#include "map/meta_store.h"

namespace coppice {

// Applies records to the map, the tree and the allocation, for redo.
class Redo final : public RecordSink {
 public:
  Redo(Tree& tree, LeafMap& map, Allocator& allocator, ChecksumPages& checksums)
      : tree_(tree), map_(map), allocator_(allocator), checksums_(checksums) {}
  Task<Result<>> apply(const Record& record) override;
  [[nodiscard]] std::uint64_t applied() const { return applied_; }

 private:
  Task<Result<>> apply_map(const MapRecord& record);
  Task<Result<>> apply_checksums(PhysicalBlock first, std::span<const std::uint32_t> checksums);
  Result<> apply_edits(const std::vector<MetaEdit>& edits);
  Result<> free(const std::vector<PhysicalRun>& runs);

  Tree& tree_;
  LeafMap& map_;
  Allocator& allocator_;
  ChecksumPages& checksums_;
  std::uint64_t applied_ = 0;
};

// Records for the in-place writes that were in flight: the checksums of what stands there.
Task<Result<std::vector<Record>>> settle_in_flight(Pool& pool, Allocator& allocator, ChecksumPages& checksums,
                                                   const std::vector<PhysicalRun>& runs);

}  // namespace coppice
