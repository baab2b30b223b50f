// Pool::create: checks everything first, then makes the files; what it made it removes when it fails.
#include <unistd.h>

#include <chrono>
#include <cstring>
#include <filesystem>
#include <map>
#include <optional>
#include <utility>

#include "coppice/aligned_buffer.h"
#include "coppice/bytes.h"
#include "pool/member_file.h"
#include "pool/member_plan.h"
#include "pool/pool.h"
#include "pool/requests.h"
#include "pool/superblocks.h"

namespace coppice {

namespace {

// Files that this call made, gone again unless it ends well.
class MadeFiles {
 public:
  MadeFiles() = default;
  MadeFiles(const MadeFiles&) = delete;
  MadeFiles& operator=(const MadeFiles&) = delete;
  ~MadeFiles() {
    for (const std::string& path : paths_) unlink(path.c_str());
  }
  void add(const std::string& path) { paths_.push_back(path); }
  void keep() {
    for (const std::string& path : paths_) sync_folder_of(path);
    paths_.clear();
  }

 private:
  std::vector<std::string> paths_;
};

struct Candidate {
  NewMember wish;
  bool is_device = false;
  std::unique_ptr<BlockFile> file;
};

std::unexpected<Failure> creation_failure(const Error& error, const std::string& path) {
  if (error.kind == ErrorKind::kNotFound)
    return refuse(ErrorKind::kNotFound, "pool file " + path + " can't be created: its folder is not there");
  if (error.kind == ErrorKind::kNoSpace)
    return refuse(ErrorKind::kNoSpace,
                  "pool file " + path + ": its file system is full; free space or choose another");
  if (error.errno_value != 0)
    return refuse(error.kind,
                  "pool file " + path + ": " + error.text + " (" + std::strerror(error.errno_value) + ")");
  return refuse(error, "pool file " + path);
}

Outcome<> check_path(const NewMember& wish, PathKind kind) {
  if (kind == PathKind::kRegularFile)
    return refuse(ErrorKind::kExists,
                  "pool file " + wish.path + " exists already: choose another name, or remove it");
  if (kind == PathKind::kOther)
    return refuse(ErrorKind::kInvalid, "pool file " + wish.path +
                                           " is neither a new file nor a block device: choose another path");
  return {};
}

Task<Outcome<>> check_device(Candidate& candidate) {
  const std::string& path = candidate.wish.path;
  auto found = co_await read_superblock(*candidate.file);
  if (found || found.error().kind == ErrorKind::kUnsupported)
    co_return refuse(ErrorKind::kExists,
                     "block device " + path +
                         " holds a coppice pool already: if it may go, erase it with wipefs or "
                         "blkdiscard first");
  // A damaged superblock may be all that is left of a pool; only a device with none is taken.
  if (found.error().kind == ErrorKind::kCorrupt)
    co_return refuse(ErrorKind::kExists,
                     "block device " + path +
                         " holds a damaged coppice pool: if it may go, erase it with blkdiscard "
                         "first");
  if (found.error().kind != ErrorKind::kInvalid) co_return refuse(found.error(), "block device " + path);
  const std::uint64_t size_bytes = candidate.file->size_bytes();
  if (candidate.wish.size_bytes > size_bytes)
    co_return refuse(ErrorKind::kInvalid, "block device " + path + " has " + format_size(size_bytes) +
                                              ", less than the " + format_size(candidate.wish.size_bytes) +
                                              " asked for");
  co_return Outcome<>{};
}

Outcome<> take_lock(BlockFile& file) {
  auto locked = file.try_lock();
  if (!locked) return refuse(locked.error(), "pool file " + file.path());
  if (!*locked) return refuse(ErrorKind::kBusy, "pool file " + file.path() + " is in use by another process");
  return {};
}

// A file that grows, and a device that is taken whole: both get slabs as long as there is room for one.
MemberSize size_of(const Candidate& candidate, const std::optional<FileSystemRoom>& room) {
  const bool whole = candidate.wish.size_bytes == 0;
  const std::uint64_t has_bytes =
      candidate.is_device && whole ? candidate.file->size_bytes() : candidate.wish.size_bytes;
  return {.path = candidate.wish.path,
          .size_bytes = has_bytes,
          .room_bytes = room ? room->free_bytes : UINT64_MAX,
          .grows = whole};
}

// Files of a fixed size take their space at once; several may stand on one file system.
Outcome<> take_room(const NewMember& wish, std::optional<FileSystemRoom>& room,
                    std::map<std::uint64_t, std::uint64_t>& taken) {
  if (!room) return {};
  std::uint64_t& used = taken[room->device];
  room->free_bytes -= std::min(room->free_bytes, used);
  if (wish.size_bytes > room->free_bytes)
    return refuse(ErrorKind::kNoSpace, "pool file " + wish.path + " of " + format_size(wish.size_bytes) +
                                           " does not fit: its file system has " +
                                           format_size(room->free_bytes) +
                                           " free; give it less, or no size, and it grows by itself");
  used += wish.size_bytes;
  return {};
}

// Everything that may refuse without touching a file.
Task<Outcome<std::vector<Superblock>>> prepare(std::vector<Candidate>& candidates, MemberOpener& opener) {
  std::vector<MemberSize> sizes;
  std::map<std::uint64_t, std::uint64_t> taken;  // by file system
  for (Candidate& candidate : candidates) {
    for (const MemberSize& other : sizes)
      if (other.path == candidate.wish.path)
        co_return refuse(ErrorKind::kInvalid,
                         "pool file " + candidate.wish.path + " is named twice: name each file once");
    const PathKind kind = kind_of_path(candidate.wish.path);
    if (auto checked = check_path(candidate.wish, kind); !checked) co_return std::unexpected(checked.error());
    candidate.is_device = kind == PathKind::kBlockDevice;
    if (candidate.is_device) {
      auto file = opener.open(candidate.wish.path, false);
      if (!file) co_return creation_failure(file.error(), candidate.wish.path);
      candidate.file = std::move(*file);
      auto checked = co_await check_device(candidate);
      if (!checked) co_return std::unexpected(checked.error());
    }
    auto room = candidate.is_device ? std::nullopt : room_for(candidate.wish.path);
    if (auto fits = take_room(candidate.wish, room, taken); !fits) co_return std::unexpected(fits.error());
    sizes.push_back(size_of(candidate, room));
  }
  auto plan = plan_members(sizes);
  co_return plan;
}

Outcome<> make_file(Candidate& candidate, MemberOpener& opener, const Notice& notice, MadeFiles& made) {
  const std::string& path = candidate.wish.path;
  auto file = opener.open(path, true);
  if (!file) return creation_failure(file.error(), path);
  made.add(path);
  candidate.file = std::move(*file);
  avoid_copy_on_write(path, notice);
  return {};
}

// Superblock area and journal are written, not only reserved: writing into unwritten extents is slower ever
// after, and a block device may hold anything.
Task<Result<>> write_front(BlockFile& file, std::uint64_t bytes) {
  constexpr std::uint64_t kChunkBytes = 1 << 20;
  AlignedBuffer zeroes(kChunkBytes);
  std::memset(zeroes.data(), 0, kChunkBytes);
  std::vector<FileRequest> requests;
  for (std::uint64_t offset = 0; offset < bytes; offset += kChunkBytes)
    requests.push_back(write_request(file, offset, zeroes.first(std::min(kChunkBytes, bytes - offset))));
  auto written = co_await perform_all(requests);
  co_return written;
}

Task<Outcome<>> make_member(Candidate& candidate, const Superblock& superblock) {
  BlockFile& file = *candidate.file;
  if (auto locked = take_lock(file); !locked) co_return locked;
  const std::uint64_t front_bytes = superblock.slabs_offset_bytes;
  const std::uint64_t size_bytes =
      superblock.grows ? front_bytes
                       : front_bytes + superblock.max_slabs * superblock.slab_blocks * kBlockBytes;
  if (auto extended = file.extend(std::max(size_bytes, candidate.is_device ? 0 : candidate.wish.size_bytes));
      !extended)
    co_return creation_failure(extended.error(), file.path());
  auto written = co_await write_front(file, front_bytes);
  if (!written) co_return creation_failure(written.error(), file.path());
  co_return Outcome<>{};
}

// Less than a slab; told where it is a part worth telling of.
void tell_unused(const Superblock& superblock, const Candidate& candidate, const Notice& notice) {
  const std::uint64_t size_bytes = candidate.wish.size_bytes;
  const std::uint64_t unused = unused_bytes(superblock, size_bytes);
  if (!notice || unused <= size_bytes / 32) return;
  notice("pool file " + candidate.wish.path + ": the last " + format_size(unused) + " of its " +
         format_size(size_bytes) + " stay unused: they are less than a slab of " +
         format_size(superblock.slab_blocks * kBlockBytes));
}

std::int64_t now_unix_ms() {
  const auto now = std::chrono::system_clock::now().time_since_epoch();
  return std::chrono::duration_cast<std::chrono::milliseconds>(now).count();
}

}  // namespace

Task<Outcome<>> Pool::create(Scheduler&, const std::vector<NewMember>& members, Uuid store, Uuid metadata,
                             const OpenFile& open_file, const Notice& notice) {
  MemberOpener opener(open_file, notice);
  std::vector<Candidate> candidates;
  for (const NewMember& member : members)
    candidates.push_back({.wish = member, .is_device = false, .file = {}});
  auto plan = co_await prepare(candidates, opener);
  if (!plan) co_return std::unexpected(plan.error());

  MadeFiles made;
  std::vector<SuperblockWrite> writes;
  for (std::size_t i = 0; i < candidates.size(); ++i) {
    Candidate& candidate = candidates[i];
    if (!candidate.is_device)
      if (auto file = make_file(candidate, opener, notice, made); !file) co_return file;
    Superblock& superblock = (*plan)[i];
    superblock.store = store;
    superblock.metadata = metadata;
    superblock.generation = 1;
    superblock.clean = true;
    superblock.created_unix_ms = now_unix_ms();
    auto ready = co_await make_member(candidate, superblock);
    if (!ready) co_return ready;
    tell_unused(superblock, candidate, notice);
    writes.push_back({candidate.file.get(), superblock});
  }
  auto written = co_await write_superblocks_to(writes, SuperblockPlaces::kEverywhere);
  if (!written) co_return creation_failure(written.error(), candidates.front().wish.path);
  made.keep();
  co_return Outcome<>{};
}

}  // namespace coppice
