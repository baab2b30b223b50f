// EngineSide: a store of its own in a directory, and disks in it, through the public interface only.
//
// One reactor for all; it stands still while the raw side runs.
// Threads: the one that made it.
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "coppice/aligned_buffer.h"
#include "coppice/reactor.h"
#include "coppice/store.h"
#include "overhead/pattern.h"
#include "overhead/slice.h"

namespace coppice::bench {

inline constexpr std::uint64_t kDefaultCacheBytes = std::uint64_t{256} << 20;

// A disk and what was written to it.
struct Disk {
  Disk(std::string disk_name, std::uint64_t span_bytes) : name(std::move(disk_name)), ledger(span_bytes) {}
  std::string name;
  Ledger ledger;
  std::unique_ptr<BlockDevice> device;  // null while detached
};

class EngineSide {
 public:
  struct Existing {};
  explicit EngineSide(std::string directory);  // makes the store
  EngineSide(std::string directory, Existing existing);
  ~EngineSide();
  EngineSide(const EngineSide&) = delete;
  EngineSide& operator=(const EngineSide&) = delete;

  [[nodiscard]] const std::string& directory() const { return directory_; }
  [[nodiscard]] bool usable() const { return store_ != nullptr; }
  [[nodiscard]] Store& store() { return *store_; }
  // Closes and opens with another cache. Disks given are attached again.
  void reopen(std::uint64_t cache_bytes, const std::vector<Disk*>& disks);
  void open(std::uint64_t cache_bytes);
  void close();
  // Lets the kernel forget the store's files.
  void drop_page_cache() const;

  Disk empty_disk(const std::string& name, std::uint64_t span_bytes);  // attached
  Disk make_disk(const std::string& name, std::uint64_t span_bytes);   // the same, filled
  void attach(Disk& disk);
  void fill(Disk& disk);  // writes all of it, in order
  // A little of each in turn, so that each stands all over the space that they take.
  void fill_among_each_other(const std::vector<Disk*>& disks);
  void flush(Disk& disk);
  void remove_disk(Disk& disk);  // with its snapshots; waits for the space
  void snapshot(const std::string& disk, const std::string& name);
  void verify(Disk& disk, std::uint64_t samples);

  Slice run(Disk& disk, const Job& job, Walk& walk, Clock::duration length);

  // Waits for a verb; a refusal ends the figure.
  template <class T>
  T must(Task<Outcome<T>> task) {
    Outcome<T> outcome = reactor_->run(std::move(task));
    if (!outcome) throw Unmeasurable(outcome.error().message);
    if constexpr (!std::is_void_v<T>) return std::move(*outcome);
  }
  std::uint64_t pool_used_bytes();
  // Bytes of the map's write-ahead logs: grows when a checkpoint writes the map.
  [[nodiscard]] std::uint64_t map_log_bytes() const;
  [[nodiscard]] std::uint64_t map_bytes() const;

 private:
  void prepare_buffers(const Job& job);

  std::string directory_;
  std::unique_ptr<Reactor> reactor_;
  std::unique_ptr<Store> store_;
  std::vector<AlignedBuffer> buffers_;
  std::uint64_t probes_ = 0;
};

}  // namespace coppice::bench
