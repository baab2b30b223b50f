// Pool::open: every way in which files can turn out not to be the pool that was asked for is told apart here.
#include <algorithm>
#include <cstring>
#include <set>
#include <utility>

#include "coppice/bytes.h"
#include "pool/member_file.h"
#include "pool/member_plan.h"
#include "pool/overlay_file.h"
#include "pool/pool.h"
#include "pool/superblocks.h"

namespace coppice {

namespace {

constexpr std::chrono::milliseconds kLockRetry{50};
// A close may be under way in the kernel still, also this process's own; nobody needs to hear of that.
constexpr std::chrono::milliseconds kTellAfter{400};

std::unexpected<Failure> in_use(const std::string& path) {
  return refuse(ErrorKind::kBusy,
                "pool file " + path + " is in use by another process: stop it, or use the store through it");
}

// Retries what a dying holder still keeps, and tells once that it waits.
class LockWait {
 public:
  LockWait(Scheduler& scheduler, const PoolOptions& options)
      : scheduler_(scheduler),
        notice_(options.notice),
        tell_at_(scheduler.now() + std::min<std::chrono::nanoseconds>(kTellAfter, options.lock_wait / 2)),
        deadline_(scheduler.now() + options.lock_wait) {}

  // False when the time is over.
  Task<bool> again(std::string path) {
    if (scheduler_.now() >= deadline_) co_return false;
    if (!told_ && notice_ && scheduler_.now() >= tell_at_) {
      told_ = true;
      notice_("waiting for the pool's lock: another process holds " + path +
              ", or its last writes are under way");
    }
    co_await sleep_for(scheduler_, kLockRetry);
    co_return true;
  }

 private:
  Scheduler& scheduler_;
  const Notice& notice_;
  std::chrono::nanoseconds tell_at_;
  std::chrono::nanoseconds deadline_;
  bool told_ = false;
};

std::unexpected<Failure> opening_failure(const Error& error, const std::string& path) {
  if (error.kind == ErrorKind::kNotFound)
    return refuse(ErrorKind::kNotFound,
                  "pool file " + path + " is missing: put it back, or attach its device");
  if (error.kind == ErrorKind::kBusy) return in_use(path);
  if (error.errno_value != 0)
    return refuse(error.kind,
                  "pool file " + path + ": " + error.text + " (" + std::strerror(error.errno_value) + ")");
  return refuse(error, "pool file " + path);
}

// A block device of a dying process is busy already when it is opened (O_EXCL), a file when it is locked.
Task<Outcome<std::unique_ptr<BlockFile>>> open_and_lock(const std::string& path, MemberOpener& opener,
                                                        LockWait& wait) {
  std::unique_ptr<BlockFile> file;
  while (true) {
    if (!file) {
      auto opened = opener.open(path, false);
      if (opened)
        file = std::move(*opened);
      else if (opened.error().kind != ErrorKind::kBusy)
        co_return opening_failure(opened.error(), path);
    }
    if (file) {
      auto locked = file->try_lock();
      if (!locked) co_return opening_failure(locked.error(), path);
      if (*locked) co_return file;
    }
    const bool more = co_await wait.again(path);
    if (!more) co_return in_use(path);
  }
}

Failure unreadable(const Error& error, const BlockFile& file) {
  const std::string name = "pool file " + file.path();
  if (error.kind == ErrorKind::kUnsupported)
    return {error.kind, name + " was written by a newer coppice: open it with that version"};
  if (error.kind != ErrorKind::kInvalid && error.kind != ErrorKind::kCorrupt)
    return {error.kind, name + ": its superblocks can't be read: " + error.text};
  if (file.size_bytes() < kSuperblockAreaBytes)
    return {ErrorKind::kCorrupt, name + " is cut short: it has " + format_size(file.size_bytes()) +
                                     ", not even a superblock's area: restore it from a backup"};
  if (error.kind == ErrorKind::kInvalid)
    return {error.kind, name + " is not a coppice pool: it holds no superblock"};
  return {error.kind, name + " is damaged: none of its superblocks is valid: restore it from a backup"};
}

// What is missing at the end can't be read; all else can, if nothing is to be written.
Outcome<> check_geometry(const BlockFile& file, const Superblock& superblock, const PoolOptions& options) {
  const std::string name = "pool file " + file.path();
  if ((superblock.ro_compat & ~kKnownRoCompat) != 0 && !options.read_only)
    return refuse(ErrorKind::kReadOnly,
                  name + " was written by a newer coppice, which alone can write it: use that version");
  if (!geometry_is_sane(superblock))
    return refuse(ErrorKind::kCorrupt, name + " is damaged: its superblock describes an impossible layout");
  const std::uint64_t needed_bytes = used_bytes(superblock);
  if (file.size_bytes() >= needed_bytes) return {};
  const std::string missing = name + " is cut short: " + std::to_string(needed_bytes - file.size_bytes()) +
                              " of its " + std::to_string(needed_bytes) + " bytes are missing";
  if (!options.read_only)
    return refuse(ErrorKind::kCorrupt,
                  missing + ": restore it from a backup, or open the store read-only to save what is left");
  if (options.notice) options.notice(missing + ": blocks that stood there can't be read");
  return {};
}

// Whether this member belongs in this place of this store.
Outcome<> check_identity(const std::string& path, const Superblock& superblock, const Superblock& first,
                         std::size_t place, const PoolOptions& options) {
  const std::string name = "pool file " + path;
  if (!options.store.is_nil() && superblock.store != options.store)
    return refuse(ErrorKind::kInvalid, name + " belongs to another store (" + to_text(superblock.store) +
                                           "), not to " + to_text(options.store));
  if (superblock.store != first.store)
    return refuse(ErrorKind::kInvalid, name + " belongs to another store than " + options.paths.front());
  if (superblock.metadata != first.metadata)
    return refuse(ErrorKind::kInvalid, name + " belongs with other metadata than " + options.paths.front() +
                                           ": one of them is from another time");
  if (superblock.member_count != options.paths.size())
    return refuse(ErrorKind::kInvalid, name + " is one of " + std::to_string(superblock.member_count) +
                                           " files of its pool, but " + std::to_string(options.paths.size()) +
                                           " are named: name all of them, in order");
  if (superblock.member != place)
    return refuse(ErrorKind::kInvalid, name + " is file " + std::to_string(superblock.member + 1) +
                                           " of its pool, but stands as number " + std::to_string(place + 1) +
                                           ": put the files in their order");
  return {};
}

void tell_damaged(const BlockFile& file, const FoundSuperblock& found, const Notice& notice) {
  if (found.damaged == 0 || !notice) return;
  notice("pool file " + file.path() + ": " + std::to_string(found.damaged) +
         " of its 4 superblocks can't be used" +
         (found.newer_may_be_lost ? ", the newest perhaps among them" : ""));
}

}  // namespace

Task<Outcome<std::unique_ptr<Pool>>> Pool::open(Scheduler& scheduler, PoolOptions options) {
  if (options.paths.empty()) co_return refuse(ErrorKind::kInvalid, "the pool has no files");
  const std::set<std::string> different(options.paths.begin(), options.paths.end());
  if (different.size() != options.paths.size())
    co_return refuse(ErrorKind::kInvalid,
                     "the store names one of its pool files twice: put store.json right");
  MemberOpener opener(options.open_file, options.notice, options.read_only);
  LockWait wait(scheduler, options);
  std::vector<Member> members;
  bool newer_may_be_lost = false;
  for (const std::string& path : options.paths) {
    auto file = co_await open_and_lock(path, opener, wait);
    if (!file) co_return std::unexpected(file.error());
    auto superblock = co_await read_superblock(**file);
    if (!superblock) co_return std::unexpected(unreadable(superblock.error(), **file));
    tell_damaged(**file, *superblock, options.notice);
    newer_may_be_lost |= superblock->newer_may_be_lost;
    if (options.read_only) *file = std::make_unique<OverlayFile>(std::move(*file));
    members.push_back({std::move(*file), superblock->superblock});
  }
  for (std::size_t i = 0; i < members.size(); ++i) {
    const Superblock& superblock = members[i].superblock;
    auto belongs = check_identity(options.paths[i], superblock, members.front().superblock, i, options);
    if (!belongs) co_return std::unexpected(belongs.error());
    auto whole = check_geometry(*members[i].file, superblock, options);
    if (!whole) co_return std::unexpected(whole.error());
    if (kind_of_path(options.paths[i]) == PathKind::kRegularFile)
      use_growth(members[i].superblock, members[i].file->size_bytes());
  }
  // What it says of the end may not be the last that was said.
  if (newer_may_be_lost)
    for (Member& member : members) member.superblock.clean = false;
  auto pool = std::unique_ptr<Pool>(new Pool(scheduler, std::move(members)));
  pool->newer_may_be_lost_ = newer_may_be_lost;
  pool->notice_ = std::move(options.notice);
  co_return pool;
}

}  // namespace coppice
