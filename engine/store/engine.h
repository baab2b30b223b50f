// Engine: one open store, wired: every part constructed in the order of the rooms, recovered, running.
#pragma once

#include <map>
#include <memory>
#include <set>
#include <string>
#include <vector>

#include "base/uuid.h"
#include "coppice/store.h"
#include "disk/head.h"
#include "disk/parts.h"
#include "journal/staging.h"
#include "map/space_reserve.h"
#include "store/base_images.h"
#include "store/change_folder.h"
#include "store/checkpointer.h"
#include "store/meta_copy.h"
#include "store/recovery.h"
#include "store/store_directory.h"
#include "tree/reclaimer.h"

namespace coppice {

// What differs between a real store and a simulated one.
struct EngineSources {
  OpenFile open_file;
  std::unique_ptr<MetaStore> meta;
  std::unique_ptr<StagingMemory> staging;
  Uuid boot;  // nil: the staging file says nothing
  FlushOrder flush_order = FlushOrder::kOrderFree;
  std::shared_ptr<SpaceReserve> reserve = {};
  std::shared_ptr<BaseImages> bases = {};
  // All of them keep what is written in memory.
  bool read_only = false;
  Notice event = {};  // see OpenOptions
};

class Engine {
 public:
  Engine(Scheduler& scheduler, std::unique_ptr<Pool> pool, EngineSources sources, std::size_t cache_bytes,
         Notice notice);
  ~Engine();

  // Recovers and starts. On failure the engine may only be destroyed.
  Task<Outcome<>> start();
  // Everything committed and checkpointed, the superblocks clean. Nothing may be in flight.
  Task<Outcome<>> stop();

  [[nodiscard]] Parts& parts() { return *parts_; }
  [[nodiscard]] Checkpointer& checkpointer() { return *checkpointer_; }
  [[nodiscard]] Reclaimer& reclaimer() { return *reclaimer_; }
  [[nodiscard]] ChangeFolder& change_folder() { return *change_folder_; }
  [[nodiscard]] MetaStore& meta() { return *sources_.meta; }
  [[nodiscard]] Tree& tree() { return tree_; }
  [[nodiscard]] LeafMap& map() { return map_; }
  [[nodiscard]] MetaCopy& copy() { return copy_; }
  [[nodiscard]] Bases& bases() { return bases_; }
  [[nodiscard]] BaseImages& images() { return *sources_.bases; }
  // What is wrong with the map, and what to do about it.
  [[nodiscard]] std::string map_failure(const Error& error) const;
  // An empty store has nothing to lose, and may have no slab yet.
  [[nodiscard]] bool wants_copy_base() const { return !tree_.disks().empty() && copy_.wants_base(); }
  // A new base for the copy of the metadata. A failure of the pool stops the store; else nothing depends on
  // it.
  Task<void> renew_copy(const bool& stop, MetaCopy::Pace pace, std::uint64_t most_bytes);
  // What a commit proves is taken up with it, until on_durable() is given to somebody else.
  void settle_at_once();
  [[nodiscard]] bool read_only() const { return sources_.read_only; }
  [[nodiscard]] const Counters& counters() const { return counters_; }
  // What the cache allows for.
  [[nodiscard]] DirtyOptions dirty_options() const;
  // Null where the map needs none.
  [[nodiscard]] SpaceReserve* reserve() { return sources_.reserve.get(); }
  void tell(const std::string& text) const {
    if (notice_) notice_(text);
  }
  // What was done, as it was asked for.
  void tell_event(const std::string& text) const {
    if (!sources_.event) return tell(text);
    sources_.event(text);
  }
  // The live state of a disk's head: one for all who use it at the same time.
  std::shared_ptr<Head> head(NodeId node, const std::string& name);
  // The heads that are in use now.
  [[nodiscard]] std::vector<std::shared_ptr<Head>> open_heads() const;
  // What is given up before a writer is told that the pool is full. Set before writers come.
  std::function<Task<bool>()> make_room;
  // A dead node waits for the reclaimer, and the reclaimer runs.
  bool reclaiming = false;

 private:
  [[nodiscard]] JournalPlace place();
  Task<Outcome<JournalPoint>> load();
  struct Past {
    StagingStamp stamp;
    StagingTail tail;
    bool power_cut = false;    // or else nothing is known of what completed
    bool failed_sync = false;  // … since a sync failed, under this boot
  };
  [[nodiscard]] Past look_back();
  // What is missing is told, or refused (damage.cpp).
  Outcome<> examine_staging(const Past& past);
  Task<Outcome<>> examine_age(JournalPoint from);
  Task<Outcome<>> examine_journal(JournalPoint end, const Past& past);
  Task<Outcome<>> repair_pages();
  Task<Outcome<>> recover(JournalPoint from, Past past);
  Task<Outcome<>> redo_tail(Redo& redo, const std::vector<Record>& tail, const TailProof& proof);
  [[nodiscard]] JournalSetup setup(JournalPoint tail, JournalPoint end, std::uint64_t durable_sequence);
  Task<Result<>> journal_tail(const std::vector<Record>& records);
  void note_suspect_epochs();
  void open_bases();
  void use_journal(JournalSetup setup);
  Task<Result<bool>> take_for_copy(std::uint64_t count, std::vector<PhysicalRun>& into);
  Task<void> tidy_copy();

  Scheduler& scheduler_;
  EngineSources sources_;
  Notice notice_;
  std::size_t cache_bytes_;
  std::unique_ptr<Pool> pool_;
  Allocator allocator_;
  ChecksumPages checksums_;
  Granules granules_;
  PendingBlocks pending_;
  Tree tree_;
  Bases bases_;
  LeafMap map_;
  Staging staging_;
  Counters counters_;
  AsyncMutex growing_;
  WaitQueue space_freed_;
  LeafGate gate_;
  Charges charges_;
  MetaCopy copy_;
  bool recovered_ = false;
  std::unique_ptr<Journal> journal_;
  std::unique_ptr<DirtyLimit> dirty_;
  std::unique_ptr<Parts> parts_;
  std::unique_ptr<Checkpointer> checkpointer_;
  std::unique_ptr<Reclaimer> reclaimer_;
  std::unique_ptr<ChangeFolder> change_folder_;
  std::map<NodeId, std::weak_ptr<Head>> heads_;
  std::set<Epoch> suspect_epochs_;
};

}  // namespace coppice
