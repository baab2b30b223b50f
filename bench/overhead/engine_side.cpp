#include "overhead/engine_side.h"

#include <fcntl.h>
#include <unistd.h>

#include <filesystem>

#include "coppice/aligned_buffer.h"

namespace coppice::bench {

namespace fs = std::filesystem;

namespace {

constexpr std::uint64_t kFillBytes = std::uint64_t{1} << 20;
const Job kFillJob{.kind = Kind::kWrite, .block_bytes = kFillBytes, .depth = 8, .sequential = true};

void must(const Result<>& result, const char* what) {
  if (!result) throw Unmeasurable(std::string(what) + ": " + result.error().text);
}

std::uint64_t bytes_under(const std::string& directory, const std::string& extension) {
  std::uint64_t total = 0;
  for (const auto& entry : fs::directory_iterator(directory)) {
    std::error_code gone;
    if (!extension.empty() && entry.path().extension() != extension) continue;
    const std::uint64_t size = entry.file_size(gone);
    if (!gone) total += size;
  }
  return total;
}

std::unique_ptr<Reactor> make_reactor() {
  auto reactor = Reactor::create();
  if (!reactor) throw Unmeasurable(reactor.error().text);
  return std::move(*reactor);
}

}  // namespace

EngineSide::EngineSide(std::string directory, Existing /*existing*/)
    : directory_(std::move(directory)), reactor_(make_reactor()) {
  open(kDefaultCacheBytes);
}

EngineSide::EngineSide(std::string directory) : directory_(std::move(directory)), reactor_(make_reactor()) {
  must(init_store(*reactor_, {directory_, {}}, {}));
  open(kDefaultCacheBytes);
}

// A store that can't be closed is left as after a kill: it is thrown away with its directory.
EngineSide::~EngineSide() {
  if (!store_) return;
  if (!reactor_->run(store_->close())) {
    (void)store_.release();
    (void)reactor_.release();
  }
}

void EngineSide::open(std::uint64_t cache_bytes) {
  OpenOptions options;
  options.directory = directory_;
  options.cache_bytes = cache_bytes;
  options.give_back = false;  // as `serve --keep-space`: what was written once stays written
  store_ = must(open_store(*reactor_, options));
}

void EngineSide::close() {
  must(store_->close());
  store_.reset();
}

void EngineSide::reopen(std::uint64_t cache_bytes, const std::vector<Disk*>& disks) {
  for (Disk* disk : disks) disk->device.reset();
  close();
  open(cache_bytes);
  for (Disk* disk : disks) attach(*disk);
}

void EngineSide::drop_page_cache() const {
  for (const auto& entry : fs::recursive_directory_iterator(directory_)) {
    if (!entry.is_regular_file()) continue;
    const int file = ::open(entry.path().c_str(), O_RDONLY | O_CLOEXEC);
    if (file < 0) continue;
    fdatasync(file);
    posix_fadvise(file, 0, 0, POSIX_FADV_DONTNEED);
    ::close(file);
  }
}

Disk EngineSide::empty_disk(const std::string& name, std::uint64_t span_bytes) {
  Disk disk(name, span_bytes);
  must(store_->create_disk(name, span_bytes));
  attach(disk);
  return disk;
}

Disk EngineSide::make_disk(const std::string& name, std::uint64_t span_bytes) {
  Disk disk = empty_disk(name, span_bytes);
  fill(disk);
  return disk;
}

void EngineSide::attach(Disk& disk) {
  disk.device = must(store_->open_device({disk.name, ""}, Access::kReadWrite, {"benchmark"}));
}

void EngineSide::fill(Disk& disk) {
  Walk walk(disk.ledger.span_bytes(), kFillBytes, true, 0);
  while (walk.visited() < walk.places()) run(disk, kFillJob, walk, std::chrono::milliseconds(100));
  flush(disk);
}

void EngineSide::fill_among_each_other(const std::vector<Disk*>& disks) {
  std::vector<Walk> walks;
  for (const Disk* disk : disks) walks.emplace_back(disk->ledger.span_bytes(), kFillBytes, true, 0);
  constexpr std::uint64_t kTurns = 256;
  for (std::uint64_t turn = 1; turn <= kTurns; ++turn) {
    for (std::size_t i = 0; i < disks.size(); ++i) {
      while (walks[i].visited() < walks[i].places() * turn / kTurns)
        run(*disks[i], kFillJob, walks[i], Clock::duration::zero());
    }
  }
  for (Disk* disk : disks) flush(*disk);
}

void EngineSide::flush(Disk& disk) {
  bench::must(reactor_->run(disk.device->flush()), "flush");
}

void EngineSide::remove_disk(Disk& disk) {
  disk.device.reset();
  must(store_->remove({{disk.name, ""}}, true));
  must(store_->wait_for_reclaim());
}

void EngineSide::snapshot(const std::string& disk, const std::string& name) {
  must(store_->snapshot({{disk, name}}, {}));
}

void EngineSide::verify(Disk& disk, std::uint64_t samples) {
  Walk walk(disk.ledger.span_bytes(), kBlockBytes, false, disk.ledger.writes());
  const AlignedBuffer memory(kBlockBytes);
  for (std::uint64_t i = 0; i < std::min(samples, walk.places()); ++i) {
    const std::uint64_t at = walk.next();
    bench::must(reactor_->run(disk.device->read(at, memory.span())), "reading back");
    if (!disk.ledger.matches(at, memory.span()))
      throw Unmeasurable("disk " + disk.name + " lost the block at " + std::to_string(at));
  }
}

std::uint64_t EngineSide::pool_used_bytes() {
  std::uint64_t total = 0;
  for (const PoolInfo& pool : must(store_->pools())) total += pool.used_bytes;
  return total;
}

std::uint64_t EngineSide::map_log_bytes() const {
  return bytes_under(directory_ + "/map", ".log");
}

std::uint64_t EngineSide::map_bytes() const {
  return bytes_under(directory_ + "/map", "");
}

}  // namespace coppice::bench
