// Pool: the members (files or block devices) that hold a store's data, their superblocks, and the slabs in
// them.
//
// Invariants: a slab is durable (header written, superblock naming it synced) before any of its blocks is
// handed out. What is made ready ahead is only a longer file with written zeroes until a superblock names it,
// and none of that writing is under way when the slab is added. The store's lock is held on every member's
// descriptor from open to close. Threads: the store's scheduler.
#pragma once

#include <bit>
#include <chrono>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "base/uuid.h"
#include "coppice/result.h"
#include "coppice/scheduler.h"
#include "coppice/task.h"
#include "io/block_file.h"
#include "layout/slab.h"
#include "layout/superblock.h"

namespace coppice {

// Where BlockFiles come from: the file system, or the simulator.
using OpenFile = std::function<Result<std::unique_ptr<BlockFile>>(const std::string& path, BlockFileOptions)>;
using Notice = std::function<void(const std::string&)>;

struct NewMember {
  std::string path;
  std::uint64_t size_bytes = 0;  // 0: a growing file, or a whole block device
};

struct PoolOptions {
  std::vector<std::string> paths;  // in the order of the members
  Uuid store;                      // nil: take what the superblocks say
  OpenFile open_file;
  Notice notice;
  std::chrono::seconds lock_wait{20};
  bool read_only = false;  // what is written stays in memory; the lock is shared
};

// A block of the pool as its slab sees it.
struct SlabPlace {
  std::uint64_t member = 0;
  std::uint64_t slab = 0;
  std::uint64_t index = 0;  // of the block within the slab, metadata included
};

class Pool {
 public:
  struct Member {
    std::unique_ptr<BlockFile> file;
    Superblock superblock;
  };

  // Makes the members: files are created (an existing regular file is refused), block devices must not hold a
  // superblock. Slab size follows the size, of a growing file the room on its file system (member_plan.h). A
  // member too small for one slab, or too large for its file system, is refused. The journal goes to member
  // 0: total size / 1024 within 64 MiB and 1 GiB, but at most 1/8 of member 0 (at least 1 MiB). Ends with
  // every superblock synced, clean, generation 1, no slab. Warns once (notice) where O_DIRECT is not to be
  // had (then opened without it, saying what is lost: data passes through the page cache) and on btrfs (sets
  // NOCOW on a new empty file, or says what is lost).
  static Task<Outcome<>> create(Scheduler& scheduler, const std::vector<NewMember>& members, Uuid store,
                                Uuid metadata, const OpenFile& open_file, const Notice& notice);

  // Opens and locks all members, reads their superblocks and checks that they belong together. One-line
  // failures that name the file: missing, cut short (shorter than its superblock says), another store's,
  // swapped order, newer format, damaged, in use. A lock that is held is waited for, at most lock_wait: the
  // last writes of a killed process may still be on their way (see try_lock).
  static Task<Outcome<std::unique_ptr<Pool>>> open(Scheduler& scheduler, PoolOptions options);

  [[nodiscard]] Scheduler& scheduler() { return scheduler_; }
  [[nodiscard]] std::vector<Member>& members() { return members_; }
  [[nodiscard]] BlockFile& file(std::uint64_t member) { return *members_[member].file; }
  [[nodiscard]] const Superblock& superblock(std::uint64_t member = 0) const {
    return members_[member].superblock;
  }
  // Where slab `slab` of `member` begins.
  [[nodiscard]] PhysicalBlock slab_start(std::uint64_t member, std::uint64_t slab) const;
  [[nodiscard]] SlabLayout slab_layout(std::uint64_t member) const;
  // Nothing for addresses outside the slabs that the superblocks name.
  [[nodiscard]] std::optional<SlabPlace> locate(PhysicalBlock block) const {
    if (block.member() >= members_.size()) return std::nullopt;
    const Superblock& superblock = members_[block.member()].superblock;
    const std::uint64_t before = superblock.slabs_offset_bytes / kBlockBytes;
    if (block.block() < before) return std::nullopt;
    const std::uint64_t behind = block.block() - before;
    const std::uint64_t slab = behind >> std::countr_zero(superblock.slab_blocks);  // a power of two
    if (slab >= superblock.slab_count) return std::nullopt;
    return SlabPlace{block.member(), slab, behind & (superblock.slab_blocks - 1)};
  }

  // Writes the superblock of every member with generation + 1 and the given state, and syncs. Called at open
  // (clean = false, open_generation + 1), at close (clean = true) and by checkpoints (journal tail).
  struct Mark {
    bool clean = false;
    std::uint64_t open_generation = 0;
    std::uint64_t journal_tail_sequence = 0;
  };
  Task<Result<>> write_superblocks(Mark mark);
  // Where the copy of the metadata stands, from the next superblock on that is written; write_meta_copy()
  // writes one and syncs it.
  void set_meta_copy(const MetaCopyPlace& place) { meta_copy_ = place; }
  Task<Result<>> write_meta_copy();

  // Who does not know the feature opens the pool no more, from when this returns. For good.
  Task<Result<>> require_feature(std::uint64_t incompat_bits);

  // Adds a slab to a member with room (a growing file is extended, its space reserved): header and empty
  // metadata pages on disk, then the superblock, all synced. The slab that was made ready comes first.
  // kNoSpace when nothing can grow, or the file system is full, which is told once (notice).
  struct NewSlab {
    std::uint64_t member = 0;
    std::uint64_t slab = 0;
  };
  Task<Result<NewSlab>> add_slab();
  [[nodiscard]] bool can_grow() const;

  // A step of making the slab that comes next ready: its space is reserved, and zeroes are written over at
  // most `most_bytes` of it that were never written. In a slab that only has its space, writes and flushes
  // are slower until each block was written once. What a crash leaves of it is gone on with.
  // Nothing where no slab can come, or where less than another slab would be left on the file system.
  struct Ahead {
    std::uint64_t written_bytes = 0;
    bool ready = false;
  };
  Task<Result<Ahead>> prepare_slab(std::uint64_t most_bytes);
  // Of the file system that `beside` stands on the pool leaves so much for others: the map above all.
  void keep_room(const std::string& beside, std::uint64_t bytes);
  // Whether a member's file may take so much more of its file system.
  [[nodiscard]] bool fits(std::uint64_t member, std::uint64_t bytes) const;

  // A superblock newer than those that are valid may have been there: the slabs may be more than it says.
  [[nodiscard]] bool newer_may_be_lost() const { return newer_may_be_lost_; }
  // Writes and syncs the header of a slab, which says nothing that the superblock does not.
  Task<Result<>> write_slab_header(std::uint64_t member, std::uint64_t slab);

  // From begin to end all that is read of the members is written back (write_back_file.h).
  void begin_write_back();
  void end_write_back();

  // Makes durable what was read: a process before this one may have written it and died, or failed to sync
  // it. A sync covers the one; so that it covers the other, too, the superblocks are written once more, as
  // they were read. Until then nothing may be written that they would not have said.
  Task<Result<>> sync_read();

  // fdatasync, in parallel, of every member written since its last sync.
  Task<Result<>> sync_all();

  // Called when a sync of a member has failed, whoever asked for it.
  void on_failed_sync(const std::function<void(const Error&)>& callback);

 private:
  Pool(Scheduler& scheduler, std::vector<Member> members);
  [[nodiscard]] bool has_room(const Member& member) const;
  struct Next {
    std::uint64_t member = 0;
    std::uint64_t slab = 0;
    std::uint64_t done_bytes = 0;  // up to where it has been looked at
    bool ready = false;
  };
  // The member with room that has the fewest slabs, of those not tried.
  [[nodiscard]] std::optional<std::uint64_t> next_member(const std::vector<bool>& tried) const;
  [[nodiscard]] std::uint64_t slab_end_bytes(std::uint64_t member, std::uint64_t slab) const;
  Task<Result<>> write_again();
  Result<> back_slab(std::uint64_t member, std::uint64_t slab);
  void tell_full();
  Task<Result<Ahead>> prepare_locked(std::uint64_t most_bytes);
  Task<Result<NewSlab>> add_slab_locked();
  Task<Result<NewSlab>> add_slab_to(std::uint64_t member);
  [[nodiscard]] Superblock next_superblock(std::uint64_t member) const;
  Scheduler& scheduler_;
  std::vector<Member> members_;
  MetaCopyPlace meta_copy_;
  std::uint64_t incompat_ = 0;  // to be set in every superblock from now on
  bool writes_back_ = false;
  bool newer_may_be_lost_ = false;
  AsyncMutex superblock_lock_;                  // superblocks are written by checkpoints and by growth
  std::optional<Next> next_;                    // the slab that is being made ready
  std::vector<std::uint64_t> kept_room_bytes_;  // by member
  Notice notice_;
  bool told_full_ = false;
};

}  // namespace coppice
