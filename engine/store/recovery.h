// Recovery: from what an earlier run left behind to a consistent state in memory and on disk.
//
//   1. redo the journal from the last checkpoint's start, up to what it calls durable;
//   2. redo the tail - the batches behind that and, if only the process died (same boot), the staging file's
//      records - looking at the data of every block of which it is not known that it was written;
//   3. put the staging file's records into the journal, so that they no longer depend on that file;
//   4. checkpoint.
// Killed at any point it starts over and ends the same: the staging file is untouched until all this is done.
#pragma once

#include <map>
#include <set>
#include <unordered_map>

#include "disk/parts.h"
#include "map/meta_store.h"
#include "store/tail_proof.h"

namespace coppice {

// Applies records to the map, the tree and the allocation, for redo.
class Redo final : public RecordSink {
 public:
  Redo(Tree& tree, LeafMap& map, Allocator& allocator, ChecksumPages& checksums)
      : tree_(tree), map_(map), allocator_(allocator), checksums_(checksums) {}
  Task<Result<>> apply(const Record& record) override;
  [[nodiscard]] std::uint64_t applied() const { return applied_; }
  // What records freed may be handed out: when no redo will go over them again.
  void release_freed();

 private:
  friend class TailRedo;
  Task<Result<>> apply_map(const MapRecord& record);
  // `count` blocks of the record, from its `offset`th on: mapped, owned, with their checksums.
  Task<Result<>> map_blocks(const MapRecord& record, std::uint64_t offset, std::uint64_t count);
  Task<Result<>> apply_checksums(PhysicalBlock first, std::span<const std::uint32_t> checksums);
  Result<> apply_edits(const std::vector<MetaEdit>& edits);
  Result<> free(const std::vector<PhysicalRun>& runs);

  Tree& tree_;
  LeafMap& map_;
  Allocator& allocator_;
  ChecksumPages& checksums_;
  std::uint64_t applied_ = 0;
  std::vector<PhysicalRun> freed_;
};

// Redo of records whose data may be missing. A block whose content is not what its record says was never
// flushed: it keeps its older mapping, which stands untouched, since what a record frees is not used again
// before the record is proven. What the lost write would have freed is freed by the next one that stands.
class TailRedo {
 public:
  TailRedo(Redo& redo, const TailProof& proof) : redo_(redo), proof_(proof) {}
  Task<Result<>> apply(const Record& record);
  [[nodiscard]] std::uint64_t lost_blocks() const { return lost_blocks_; }

 private:
  Task<Result<>> apply_map(const MapRecord& record);
  Task<Result<>> settle_old(const MapRecord& record, const std::vector<bool>& stands, bool whole);
  Task<Result<>> apply_checksums(const ChecksumRecord& record);
  Result<> apply_edits(std::vector<MetaEdit> edits);
  void apply_superseded(const MapRecord& record, const std::vector<bool>& stands);
  [[nodiscard]] bool lost_in(Epoch epoch) const;

  Redo& redo_;
  const TailProof& proof_;
  std::uint64_t lost_blocks_ = 0;
  std::unordered_map<std::uint64_t, Epoch>
      lost_frees_;  // blocks that lost writes would have freed, and whose
  std::map<std::pair<LeafIndex, Epoch>, std::vector<LeafKey>>
      lost_deletions_;                                          // … and versions, by leaf and epoch
  std::set<std::uint32_t> lost_epochs_;                         // tags of epochs that lost a mapping
  std::unordered_map<std::uint64_t, std::uint32_t> unmatched_;  // block → tag of a lost overwrite
  std::set<std::string> unnamed_;                               // keys of nodes whose names were left out
};

// Records for the in-place writes that were in flight: the checksums of what stands there.
Task<Result<std::vector<Record>>> settle_in_flight(Allocator& allocator, ChecksumPages& checksums,
                                                   const TailProof& proof,
                                                   const std::vector<PhysicalRun>& runs);

}  // namespace coppice
