// SimDisk: the pool's files as a machine has them: what reads see, what a power cut would leave, and what is
// on its way between the two.
//
// A write becomes visible sector by sector between its submission and its completion, and durable with a sync
// that was submitted after it completed. A power cut keeps, of each 512-byte sector, what was durable or any
// version written since, in-flight ones included. A kill keeps what completed and, of what was in flight, any
// sectors. The disk outlives the processes that use it; a SimBlockFile belongs to one process.
#pragma once

#include <array>
#include <cstdint>
#include <map>
#include <memory>
#include <set>
#include <string>
#include <vector>

#include "io/block_file.h"
#include "rng.h"
#include "sim_scheduler.h"

namespace coppice::sim {

inline constexpr unsigned kSectorsPerBlock = kBlockBytes / kSectorBytes;
using BlockBytes = std::array<std::byte, kBlockBytes>;

struct Faults {
  std::uint64_t fail_io_in = 0;    // this many requests from now one fails with EIO (0: none)
  std::uint64_t fail_sync_in = 0;  // … one sync
  bool of_superblocks = false;     // … of those that a superblock waits for
  bool fired = false;
  const char* what = "";  // failed: for whoever looks into a violation
};

class SimFile {
 public:
  SimFile(std::string path, std::uint64_t size_bytes, std::uint64_t limit_bytes)
      : path_(std::move(path)), size_(size_bytes), durable_size_(size_bytes), limit_(limit_bytes) {}

  void power_cut(Rng& rng);
  void kill(Rng& rng);
  // For making a store: visible and durable at once.
  void store(std::uint64_t offset_bytes, std::span<const std::byte> bytes);
  // Damages a block for good. False where nothing stands.
  bool rot(std::uint64_t offset_bytes, Rng& rng);
  [[nodiscard]] std::uint64_t size() const { return size_; }
  [[nodiscard]] std::uint64_t limit() const { return limit_; }
  // As a block device: its room can't be asked for.
  bool device = false;
  [[nodiscard]] const std::string& path() const { return path_; }
  // A superblock was written that no sync has covered.
  [[nodiscard]] bool superblock_waits() const;
  [[nodiscard]] std::size_t unsynced_blocks() const { return unsynced_.size(); }

 private:
  friend class SimBlockFile;
  struct Version {                // written, not known durable
    std::uint64_t completed = 0;  // 0: in flight
    std::uint8_t sectors = 0xff;
    bool lost = false;  // a failed sync covered it: no later one will
    BlockBytes bytes;
  };
  struct Block {
    BlockBytes visible{};
    BlockBytes durable{};
    std::vector<std::unique_ptr<Version>> versions;
  };
  Block& block(std::uint64_t index);
  void synced(std::uint64_t barrier, bool failed);

  std::string path_;
  std::vector<std::unique_ptr<Block>> blocks_;
  std::set<std::uint64_t> unsynced_;
  std::uint64_t size_;
  std::uint64_t durable_size_;
  std::uint64_t limit_;
  std::uint64_t completions_ = 0;
};

class SimDisk {
 public:
  SimFile& add(std::string path, std::uint64_t size_bytes, std::uint64_t limit_bytes) {
    files_.push_back(std::make_unique<SimFile>(std::move(path), size_bytes, limit_bytes));
    return *files_.back();
  }
  [[nodiscard]] SimFile* find(const std::string& path);
  [[nodiscard]] std::vector<std::unique_ptr<SimFile>>& files() { return files_; }
  void power_cut(Rng& rng) {
    for (auto& file : files_) file->power_cut(rng);
  }
  void kill(Rng& rng) {
    for (auto& file : files_) file->kill(rng);
  }
  Faults faults;
  std::uint64_t requests = 0;
  std::uint64_t syncs_under_way = 0;
  std::uint64_t syncs = 0;  // begun
  std::chrono::nanoseconds stall_next_read{0};
  std::chrono::nanoseconds stall_next_write{0};
  std::uint64_t stall_from_bytes = 0;  // … of those at or behind this place
  std::chrono::nanoseconds stall_next_sync{0};

 private:
  std::vector<std::unique_ptr<SimFile>> files_;
};

class SimBlockFile final : public BlockFile {
 public:
  SimBlockFile(SimScheduler& scheduler, Rng& rng, SimDisk& disk, SimFile& file)
      : scheduler_(scheduler), rng_(rng), disk_(disk), file_(file) {}
  void submit(IoRequest& request) override;
  [[nodiscard]] std::uint64_t size_bytes() const override { return file_.size_; }
  Result<> extend(std::uint64_t size_bytes) override;
  std::uint64_t first_hole(std::uint64_t from_bytes, std::uint64_t to_bytes) override;
  std::optional<std::uint64_t> room_bytes() override;
  Result<bool> try_lock() override { return true; }
  [[nodiscard]] const std::string& path() const override { return file_.path_; }

 private:
  void submit_read(IoRequest& request);
  void submit_write(IoRequest& request);
  void submit_sync(IoRequest& request);
  void finish(IoRequest& request, int error);
  [[nodiscard]] bool fails(IoRequest::Kind kind);
  std::chrono::nanoseconds latency();

  SimScheduler& scheduler_;
  Rng& rng_;
  SimDisk& disk_;
  SimFile& file_;
};

}  // namespace coppice::sim
