// A map that is lost or damaged, made anew beside the old one from the copy in the pool, then put in its
// place. Nothing of the pool is written: the redo of the journal follows when the store is opened.
#include <fcntl.h>
#include <fmt/format.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <filesystem>

#include "layout/tree_values.h"
#include "store/meta_restore.h"
#include "store/store_directory.h"
#include "store/store_impl.h"

namespace coppice {

namespace {

namespace fs = std::filesystem;

Result<> read_all(MetaStore& meta) {
  for (const Family family : {Family::kLeaf, Family::kChange, Family::kMeta}) {
    auto iterator = meta.iterate(family, Reach::kAll);
    for (iterator->seek(""); iterator->valid(); iterator->next()) continue;
    if (auto status = iterator->status(); !status) return status;
  }
  return {};
}

// Whether it is this store's, and not older than the ring reaches back.
std::string misfit(MetaStore& meta, const Superblock& superblock) {
  auto stored = meta.get(Family::kMeta, kStoreKey);
  const auto identity = stored && *stored ? decode_store(**stored) : std::nullopt;
  if (!identity || identity->store != superblock.store || identity->metadata != superblock.metadata)
    return "it belongs to another store";
  auto applied = meta.get(Family::kMeta, kAppliedKey);
  if (!applied) return applied.error().text;
  const auto value = *applied ? decode_applied(**applied) : AppliedValue{};
  if (!value) return "where the journal begins is damaged";
  if (value->sequence + 1 < superblock.journal_tail_sequence) return "it is older than the pool";
  return {};
}

// Why it can't be used; empty if it can.
Outcome<std::string> damage_of(const std::string& path, const Superblock& superblock) {
  std::string reason;
  auto meta = open_rocks_read_only(path, reason);
  if (!meta && meta.error().kind == ErrorKind::kReadOnly)
    return refuse(meta.error().kind, fmt::format("{}: {}", path, reason));
  if (!meta) return reason;
  if (auto read = read_all(**meta); !read) return std::string(read.error().text);
  return misfit(**meta, superblock);
}

Outcome<> sync_folder(const std::string& path) {
  const int descriptor = ::open(path.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  const bool synced = descriptor >= 0 && fsync(descriptor) == 0;
  const int error = errno;
  if (descriptor >= 0) ::close(descriptor);
  if (!synced) return refuse(ErrorKind::kIo, fmt::format("{}: {}", path, std::strerror(error)));
  return {};
}

Outcome<> move(const std::string& from, const std::string& to) {
  std::error_code error;
  fs::rename(from, to, error);
  if (error) return refuse(ErrorKind::kIo, fmt::format("{} can't become {}: {}", from, to, error.message()));
  return {};
}

std::string free_name(const std::string& path) {
  std::error_code ignored;
  std::string name = path + ".damaged";
  for (int i = 2; fs::exists(name, ignored); ++i) name = fmt::format("{}.damaged-{}", path, i);
  return name;
}

// A crash between the two leaves no map: the next repair makes it once more.
Outcome<std::string> put_in_place(const StoreDirectory& directory, const std::string& made) {
  std::error_code ignored;
  std::string kept;
  if (fs::exists(directory.map_path(), ignored)) {
    kept = free_name(directory.map_path());
    if (auto moved = move(directory.map_path(), kept); !moved) return std::unexpected(moved.error());
  }
  if (auto moved = move(made, directory.map_path()); !moved) return std::unexpected(moved.error());
  if (auto synced = sync_folder(directory.path); !synced) return std::unexpected(synced.error());
  return kept;
}

Task<Outcome<>> make_map(Pool& pool, std::string path, std::shared_ptr<SpaceReserve> reserve) {
  std::string reason;
  auto meta = open_rocks_meta_store(path, true, reason, std::move(reserve));
  if (!meta) co_return refuse(meta.error().kind, fmt::format("{}: can't be made: {}", path, reason));
  MetaStore* into = meta->get();
  auto found = co_await read_copy(pool, into, CopyPart::kSynced);
  if (!found && found.error().kind == ErrorKind::kNotFound)
    co_return refuse(ErrorKind::kNotFound, "the pool holds no copy of it: restore the store from a backup");
  if (!found) co_return refuse(found.error(), "making the map anew");
  const std::string wrong = misfit(**meta, pool.superblock());
  if (!wrong.empty())
    co_return refuse(
        ErrorKind::kCorrupt,
        fmt::format("the copy in the pool can't be used ({}): restore the store from a backup", wrong));
  co_return Outcome<>{};
}

}  // namespace

Task<Outcome<RepairReport>> repair_store(Reactor& reactor, OpenOptions options) {
  const std::string path = fs::absolute(options.directory).lexically_normal().string();
  auto directory = read_store_directory(path);
  if (!directory) co_return std::unexpected(directory.error());
  const OpenFile open_file = [&reactor](const std::string& file, BlockFileOptions how) {
    return open_block_file(reactor, file, how);
  };
  PoolOptions pool_options{directory->pools, directory->store,  open_file,
                           options.notice,   options.lock_wait, false};
  auto pool = co_await Pool::open(reactor, std::move(pool_options));
  if (!pool) co_return std::unexpected(pool.error());
  auto damage = damage_of(directory->map_path(), (*pool)->superblock());
  if (!damage) co_return std::unexpected(damage.error());
  RepairReport report{.repaired = !damage->empty(), .damage = *damage, .kept = {}};
  if (!report.repaired) co_return report;
  const std::string made = directory->map_path() + ".new";
  std::error_code ignored;
  fs::remove_all(made, ignored);
  auto reserve = std::make_shared<SpaceReserve>(directory->reserve_path());
  auto done = co_await make_map(**pool, made, std::move(reserve));
  if (!done) {
    fs::remove_all(made, ignored);
    co_return refuse(done.error().kind,
                     fmt::format("{} is damaged or missing ({}), and can't be made anew: {}",
                                 directory->map_path(), *damage, done.error().message));
  }
  auto kept = put_in_place(*directory, made);
  if (!kept) co_return std::unexpected(kept.error());
  report.kept = *kept;
  co_return report;
}

}  // namespace coppice
