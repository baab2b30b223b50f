// Making and opening a store: the only place where concrete parts are chosen.
#include <fmt/format.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <filesystem>

#include "layout/tree_values.h"
#include "store/store_impl.h"

namespace coppice {

namespace {

namespace fs = std::filesystem;

OpenFile file_opener(Reactor& reactor) {
  return [&reactor](const std::string& path, BlockFileOptions options) {
    return open_block_file(reactor, path, options);
  };
}

bool is_there(const std::string& path) {
  std::error_code ignored;
  return fs::exists(path, ignored);
}

// A folder that holds something is someone else's. A fresh file system holds lost+found.
Outcome<> make_directory(const std::string& path) {
  std::error_code error;
  fs::create_directories(path, error);
  fs::directory_iterator entry;
  if (!error) entry = fs::directory_iterator(path, error);
  if (error) {
    return refuse(ErrorKind::kIo, fmt::format("store {}: can't be made: {}; choose another directory", path,
                                              error.message()));
  }
  for (; entry != fs::directory_iterator(); entry.increment(error)) {
    if (error || entry->path().filename() == "lost+found") continue;
    return refuse(
        ErrorKind::kExists,
        fmt::format("store {}: the directory holds other files: choose an empty or a new one", path));
  }
  if (chmod(path.c_str(), 0700) != 0) {
    return refuse(ErrorKind::kIo, fmt::format("store {}: {}", path, std::strerror(errno)));
  }
  return {};
}

Outcome<> make_map(const std::string& path, const StoreValue& identity) {
  std::string reason;
  auto meta = open_rocks_meta_store(path, true, reason);
  if (!meta) return refuse(meta.error().kind, fmt::format("{}: can't be made: {}", path, reason));
  MetaBatch batch;
  batch.put(Family::kMeta, std::string(kStoreKey), encode(identity));
  auto written = (*meta)->write(batch, true);
  if (!written) return refuse(written.error(), path);
  return {};
}

// Takes back what a failed init made, and nothing else.
class Undo {
 public:
  explicit Undo(std::string directory) : directory_(std::move(directory)), existed_(is_there(directory_)) {}
  void also(std::string path) {
    if (!is_there(path)) files_.push_back(std::move(path));
  }
  void keep() { kept_ = true; }
  ~Undo() {
    if (kept_) return;
    std::error_code ignored;
    for (const std::string& file : files_) fs::remove_all(file, ignored);
    if (!existed_) fs::remove(directory_, ignored);
  }
  Undo(const Undo&) = delete;
  Undo& operator=(const Undo&) = delete;

 private:
  std::string directory_;
  bool existed_;
  bool kept_ = false;
  std::vector<std::string> files_;
};

}  // namespace

Task<Outcome<>> init_store(Reactor& reactor, InitOptions options,
                           std::function<void(const std::string&)> notice) {
  const std::string path = fs::absolute(options.directory).lexically_normal().string();
  if (store_exists(path)) {
    co_return refuse(ErrorKind::kExists,
                     fmt::format("store {} exists already: choose another directory", path));
  }
  Undo undo(path);
  undo.also(path + "/map");
  undo.also(path + "/pool");
  undo.also(path + "/staging");
  undo.also(path + "/reserve");
  auto made = make_directory(path);
  if (!made) co_return made;
  StoreDirectory directory{path, random_uuid(), {}};
  std::vector<NewMember> members;
  if (options.pools.empty()) options.pools.push_back({path + "/pool", 0});
  for (const PoolSpec& pool : options.pools) {
    const std::string where = fs::absolute(pool.path).lexically_normal().string();
    undo.also(where);
    members.push_back({where, pool.size_bytes});
    // Inside the store's directory a relative path, so that the directory can be moved.
    const std::string inside = path + "/";
    directory.pools.push_back(where.starts_with(inside) ? where.substr(inside.size()) : where);
  }
  const Uuid metadata = random_uuid();
  made = make_map(directory.map_path(), {directory.store, metadata});
  if (!made) co_return made;
  // Before the pool, whose slabs follow what room is left.
  SpaceReserve(directory.reserve_path()).fill();
  auto staging = map_staging_file(directory.staging_path(), kDefaultStagingBytes);
  if (!staging) co_return refuse(staging.error(), directory.staging_path());
  made = co_await Pool::create(reactor, members, directory.store, metadata, file_opener(reactor), notice);
  if (!made) co_return made;
  made = write_store_directory(directory);
  if (!made) co_return made;
  undo.keep();
  co_return Outcome<>{};
}

namespace {

Task<Outcome<std::unique_ptr<Store>>> open_directory(Reactor& reactor, const StoreDirectory& directory,
                                                     const OpenOptions& options, std::string read_only) {
  const bool reads = !read_only.empty();
  PoolOptions pool_options{directory.pools, directory.store,   file_opener(reactor),
                           options.notice,  options.lock_wait, reads};
  auto pool = co_await Pool::open(reactor, std::move(pool_options));
  if (!pool) co_return std::unexpected(pool.error());
  // Behind the pool's lock: two processes never meet in RocksDB.
  std::string reason;
  auto reserve = reads ? nullptr : std::make_shared<SpaceReserve>(directory.reserve_path());
  auto meta = reads ? open_rocks_read_only(directory.map_path(), reason)
                    : open_rocks_meta_store(directory.map_path(), false, reason, reserve);
  if (!meta) {
    co_return refuse(meta.error().kind,
                     fmt::format("{}: the map can't be opened: {}; {}", directory.map_path(), reason,
                                 map_remedy((*pool)->superblock().meta_copy.whole())));
  }
  if (reads) meta = make_overlay_meta_store(std::move(*meta));
  Result<std::unique_ptr<StagingMemory>> staging =
      reads ? copy_staging_file(directory.staging_path(), kDefaultStagingBytes)
            : map_staging_file(directory.staging_path(), kDefaultStagingBytes);
  if (!staging) co_return refuse(staging.error(), directory.staging_path());
  EngineSources sources{
      .open_file = file_opener(reactor),
      .meta = std::move(*meta),
      .staging = std::move(*staging),
      .boot = boot_id(),
      .flush_order = options.conservative_flush ? FlushOrder::kConservative : FlushOrder::kOrderFree,
      .reserve = std::move(reserve),
      .bases = make_base_images(reactor),
      .read_only = reads,
      .event = options.event};
  auto engine = std::make_unique<Engine>(reactor, std::move(*pool), std::move(sources), options.cache_bytes,
                                         options.notice);
  auto started = co_await engine->start();
  if (!started) co_return std::unexpected(started.error());
  HousekeepingOptions housekeeping;
  housekeeping.space.give_back = options.give_back;
  housekeeping.wall_clock = options.wall_clock;
  housekeeping.policy_interval = options.policy_interval;
  auto store = std::make_unique<StoreImpl>(reactor, std::move(engine), housekeeping);
  store->set_read_only(std::move(read_only));
  store->start();
  co_return std::unique_ptr<Store>(std::move(store));
}

// After these nothing says that what is there can't be read.
bool may_be_read(ErrorKind kind) {
  return kind == ErrorKind::kReadOnly || kind == ErrorKind::kIo || kind == ErrorKind::kNoSpace;
}

}  // namespace

Task<Outcome<std::unique_ptr<Store>>> open_store(Reactor& reactor, OpenOptions options) {
  const std::string path = fs::absolute(options.directory).lexically_normal().string();
  auto directory = read_store_directory(path);
  if (!directory) co_return std::unexpected(directory.error());
  if (options.mode == OpenMode::kReadOnly) {
    const std::string asked = "it was opened so: open it without --read-only to change it";
    auto store = co_await open_directory(reactor, *directory, options, asked);
    co_return store;
  }
  auto store = co_await open_directory(reactor, *directory, options, {});
  if (store || !may_be_read(store.error().kind)) co_return store;
  const std::string reason = store.error().message;
  auto readable = co_await open_directory(reactor, *directory, options, reason);
  // What it then says is a consequence; the first failure is the cause.
  if (!readable) co_return store;
  if (options.notice) options.notice("store " + path + " is opened read-only: " + reason);
  co_return readable;
}

}  // namespace coppice
