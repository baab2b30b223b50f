#include <rocksdb/db.h>
#include <rocksdb/listener.h>
#include <rocksdb/write_batch.h>

#include <array>
#include <atomic>
#include <cerrno>
#include <cstdarg>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "map/meta_store.h"
#include "map/rocks_footers.h"
#include "map/rocks_manifest.h"
#include "map/rocks_options.h"
#include "map/space_reserve.h"

#if __has_feature(thread_sanitizer)
// Debian's RocksDB is built without it: what the library orders by its own atomics the sanitizer doesn't see.
extern "C" const char* __tsan_default_suppressions();  // NOLINT(bugprone-reserved-identifier)
extern "C" const char* __tsan_default_suppressions() {
  return "race:librocksdb.so\n";
}
#endif

namespace coppice {

namespace {

rocksdb::Slice slice(std::string_view text) {
  return {text.data(), text.size()};
}
std::string_view view(const rocksdb::Slice& bytes) {
  return {bytes.data(), bytes.size()};
}

ErrorKind kind_of(const rocksdb::Status& status) {
  if (status.IsNoSpace()) return ErrorKind::kNoSpace;
  if (status.IsCorruption()) return ErrorKind::kCorrupt;
  return ErrorKind::kIo;
}

Result<> result_of(const rocksdb::Status& status, const char* text) {
  if (status.ok()) return {};
  if (status.IsNoSpace())
    return fail(ErrorKind::kNoSpace, ENOSPC, "the file system of the store's map is full");
  return fail(kind_of(status), 0, text);
}

class RocksIterator final : public MetaIterator {
 public:
  explicit RocksIterator(std::unique_ptr<rocksdb::Iterator> iterator) : iterator_(std::move(iterator)) {}
  void seek(std::string_view key) override { iterator_->Seek(slice(key)); }
  void next() override { iterator_->Next(); }
  [[nodiscard]] bool valid() const override { return iterator_->Valid(); }
  [[nodiscard]] std::string_view key() const override { return view(iterator_->key()); }
  [[nodiscard]] std::string_view value() const override { return view(iterator_->value()); }
  Result<> status() override { return result_of(iterator_->status(), "the metadata could not be read"); }

 private:
  std::unique_ptr<rocksdb::Iterator> iterator_;
};

// Else many that were deleted would be passed over one by one, on a thread that guests wait for.
constexpr std::uint64_t kMostPassedInMemory = 32;

// A compaction or flush in the background that met a full file system: RocksDB stops them until it is told
// to go on.
class FullWatch final : public rocksdb::EventListener {
 public:
  void OnBackgroundError(rocksdb::BackgroundErrorReason, rocksdb::Status* status) override {
    if (status->IsNoSpace()) met_full_ = true;
  }
  bool take() { return met_full_.exchange(false); }

 private:
  std::atomic<bool> met_full_ = false;
};

class RocksMetaStore final : public MetaStore {
 public:
  RocksMetaStore(std::unique_ptr<rocksdb::DB> db, std::vector<rocksdb::ColumnFamilyHandle*> handles,
                 bool doubtful, std::shared_ptr<FullWatch> watch, std::shared_ptr<SpaceReserve> reserve)
      : db_(std::move(db)),
        handles_(std::move(handles)),
        doubtful_(doubtful),
        watch_(std::move(watch)),
        reserve_(std::move(reserve)) {}
  ~RocksMetaStore() override {
    // What is in the log needs no flush; files that are half made are thrown away at the next open.
    for (auto* handle : handles_) static_cast<void>(db_->DestroyColumnFamilyHandle(handle));
    static_cast<void>(db_->Close());
  }
  RocksMetaStore(const RocksMetaStore&) = delete;
  RocksMetaStore& operator=(const RocksMetaStore&) = delete;

  Result<std::optional<std::string>> get(Family family, std::string_view key) override {
    std::string value;
    const auto status = db_->Get({}, handle(family), slice(key), &value);
    if (status.IsNotFound()) return std::nullopt;
    if (!status.ok()) return fail(kind_of(status), 0, "the metadata could not be read");
    return value;
  }

  Result<> write(const MetaBatch& batch, bool sync) override {
    // It has a byte more for each operation, and a head.
    rocksdb::WriteBatch writes(batch.bytes() + batch.bytes() / 8 + 64);
    for (const auto& operation : batch) {
      if (const auto status = add(writes, operation); !status.ok()) {
        return fail(ErrorKind::kInvalid, 0, "an operation on the metadata was refused");
      }
    }
    const std::string manifest = sync ? manifest_in_use(*db_) : std::string();
    if (!manifest.empty() && !writes.Put(handles_.front(), kManifestKey, manifest).ok()) {
      return fail(ErrorKind::kInvalid, 0, "an operation on the metadata was refused");
    }
    rocksdb::WriteOptions options;
    options.sync = sync;
    if (reserve_ && !reserve_->make_room(2 * batch.bytes()))
      return result_of(rocksdb::Status::NoSpace(), "the metadata could not be written");
    if (watch_->take()) make_room();
    auto status = db_->Write(options, &writes);
    // Twice: what the reserve gave may go to what waited before.
    for (int tries = 0; status.IsNoSpace() && tries < 2; ++tries) {
      if (!make_room()) break;
      status = db_->Write(options, &writes);
    }
    return result_of(status, "the metadata could not be written");
  }

  [[nodiscard]] bool doubtful() const override { return doubtful_; }

  std::unique_ptr<MetaIterator> iterate(Family family, Reach reach) override {
    return iterate(family, reach, {});
  }

  std::unique_ptr<MetaIterator> leaves_in_memory() override {
    rocksdb::ReadOptions options;
    options.read_tier = rocksdb::kBlockCacheTier;
    options.max_skippable_internal_keys = kMostPassedInMemory;
    // The last to see a table that was compacted away deletes its file: not here.
    options.background_purge_on_iterator_cleanup = true;
    return iterate(Family::kLeaf, Reach::kPrefix, options);
  }

 private:
  std::unique_ptr<MetaIterator> iterate(Family family, Reach reach, rocksdb::ReadOptions options) {
    options.total_order_seek = reach == Reach::kAll;
    options.prefix_same_as_start = reach == Reach::kPrefix;
    // RocksDB 7.8 loses errors where an iterator meets both them and ranges that were erased, "not in memory"
    // among them: a leaf would read as one that was never there. (Mended in 8.5 and 8.6.)
    options.ignore_range_deletions = reach == Reach::kPrefix;
    return std::make_unique<RocksIterator>(
        std::unique_ptr<rocksdb::Iterator>(db_->NewIterator(options, handle(family))));
  }
  [[nodiscard]] rocksdb::ColumnFamilyHandle* handle(Family family) const {
    return handles_[static_cast<std::size_t>(family) + 1];  // behind RocksDB's own
  }

  // True if RocksDB goes on.
  bool make_room() {
    if (reserve_) reserve_->release();
    const bool resumed = db_->Resume().ok();
    if (resumed) watch_->take();
    return resumed;
  }

  rocksdb::Status add(rocksdb::WriteBatch& writes, const MetaBatch::Operation& operation) const {
    using Kind = MetaBatch::Operation::Kind;
    auto* family = handle(operation.family);
    const rocksdb::Slice key = slice(operation.key);
    const rocksdb::Slice value = slice(operation.value);
    switch (operation.kind) {
      case Kind::kPut:
        return writes.Put(family, key, value);
      case Kind::kErase:
        return writes.Delete(family, key);
      case Kind::kEraseRange:
        return writes.DeleteRange(family, key, value);
      case Kind::kMergeOr:
        return writes.Merge(family, key, value);
    }
    return rocksdb::Status::InvalidArgument();
  }

  std::unique_ptr<rocksdb::DB> db_;
  std::vector<rocksdb::ColumnFamilyHandle*> handles_;
  bool doubtful_;
  std::shared_ptr<FullWatch> watch_;
  std::shared_ptr<SpaceReserve> reserve_;
};

Error open_error(const rocksdb::Status& status, const std::string& reason) {
  // RocksDB has no code for it.
  const bool held = status.IsIOError() && (reason.find("lock hold by") != std::string::npos ||
                                           reason.find("While lock file") != std::string::npos);
  if (held) return {ErrorKind::kBusy, 0, "another process has the metadata open"};
  if (status.IsIOError() && (reason.find("ermission denied") != std::string::npos ||
                             reason.find("ead-only file system") != std::string::npos)) {
    return {ErrorKind::kReadOnly, 0, "the metadata can't be written here"};
  }
  // Also what it says of missing files and families.
  if (status.IsCorruption() || status.IsInvalidArgument() || status.IsNotFound() || status.IsPathNotFound()) {
    return {ErrorKind::kCorrupt, 0, "the metadata is damaged or missing"};
  }
  return {kind_of(status), 0, "the metadata could not be opened"};
}

}  // namespace

namespace {

class Silent final : public rocksdb::Logger {
 public:
  using rocksdb::Logger::Logv;
  void Logv(const char*, va_list) override {}
};

}  // namespace

Result<std::unique_ptr<MetaStore>> open_rocks_read_only(const std::string& directory, std::string& reason) {
  if (const std::string bad = table_with_bad_footer(directory); !bad.empty()) {
    reason = "Corruption: bad footer of table " + bad;
    return fail(ErrorKind::kCorrupt, 0, "the metadata is damaged or missing");
  }
  rocksdb::DB* opened = nullptr;
  std::vector<rocksdb::ColumnFamilyHandle*> handles;
  const bool small = on_small_file_system(directory);
  rocksdb::DBOptions options = rocks_options(false, small);
  options.info_log = std::make_shared<Silent>();
  auto status = rocksdb::DB::OpenForReadOnly(options, directory, rocks_families(small), &handles, &opened);
  if (!status.ok()) {
    reason = status.ToString();
    return std::unexpected(open_error(status, reason));
  }
  std::string remembered;
  status = opened->Get({}, handles.front(), kManifestKey, &remembered);
  const ManifestAge age = judge_manifest(directory, remembered);
  auto store =
      std::make_unique<RocksMetaStore>(std::unique_ptr<rocksdb::DB>(opened), std::move(handles),
                                       age == ManifestAge::kOther, std::make_shared<FullWatch>(), nullptr);
  if (!status.ok() && !status.IsNotFound()) {
    reason = status.ToString();
    return std::unexpected(open_error(status, reason));
  }
  if (age == ManifestAge::kDamaged) {
    reason = "Corruption: the manifest is not what it was (" + remembered + ")";
    return fail(ErrorKind::kCorrupt, 0, "the metadata is damaged or missing");
  }
  return store;
}

// Looked at read-only first: RocksDB deletes what a manifest that was cut does not name.
Result<std::unique_ptr<MetaStore>> open_rocks_meta_store(const std::string& directory, bool create,
                                                         std::string& reason,
                                                         std::shared_ptr<SpaceReserve> reserve) {
  bool doubtful = false;
  if (!create) {
    auto looked = open_rocks_read_only(directory, reason);
    if (!looked) return looked;
    doubtful = (*looked)->doubtful();
  }
  rocksdb::DB* opened = nullptr;
  std::vector<rocksdb::ColumnFamilyHandle*> handles;
  const bool small = on_small_file_system(directory);
  if (reserve && !reserve->make_room(0)) {
    reason = "its file system is full: free 32 MiB there";
    return fail(ErrorKind::kNoSpace, ENOSPC, "the file system of the store's map is full");
  }
  auto options = rocks_options(create, small);
  auto watch = std::make_shared<FullWatch>();
  options.listeners.push_back(watch);
  auto status = rocksdb::DB::Open(options, directory, rocks_families(small), &handles, &opened);
  if (status.IsNoSpace() && reserve && reserve->release())
    status = rocksdb::DB::Open(options, directory, rocks_families(small), &handles, &opened);
  if (!status.ok()) {
    reason = status.ToString();
    return std::unexpected(open_error(status, reason));
  }
  return std::make_unique<RocksMetaStore>(std::unique_ptr<rocksdb::DB>(opened), std::move(handles), doubtful,
                                          std::move(watch), std::move(reserve));
}

}  // namespace coppice
