// The whole engine on the simulator's machine, looked into between any two steps.
#pragma once

#include <catch2/catch.hpp>
#include <cstring>
#include <functional>
#include <memory>
#include <optional>
#include <set>
#include <string>

#include "coppice/aligned_buffer.h"
#include "machine.h"
#include "store/store_impl.h"

namespace coppice::sim {

inline Shape quiet_shape(FlushOrder order) {
  Shape shape;
  shape.slab_blocks = 2048;
  shape.max_slabs = 1;
  shape.cache_bytes = 1 << 20;
  shape.flush_order = order;
  return shape;
}

class House {
 public:
  explicit House(FlushOrder order) : House(quiet_shape(order)) {}
  explicit House(const Shape& shape) : machine_(rng_, shape) { open(); }
  ~House() { close(); }
  House(const House&) = delete;
  House& operator=(const House&) = delete;

  void reopen() {
    close();
    open();
  }
  Store& store() { return *process_->store; }
  Parts& parts() { return process_->engine->parts(); }
  SimDisk& disk() { return machine_.disk; }
  std::uint64_t checkpoints() { return process_->engine->checkpointer().finished(); }

  // Called between any two steps.
  std::function<void()> look = [] {};

  template <class T>
  T run(Task<T> task) {
    std::optional<T> result;
    spawn([](Task<T> inner, std::optional<T>& into) -> Task<void> {
      auto value = co_await inner;
      into.emplace(std::move(value));
    }(std::move(task), result));
    while (!result) step();
    return std::move(*result);
  }
  void run_until(const bool& done) {
    while (!done) step();
  }
  void step() {
    REQUIRE(process_->scheduler.step());
    look();
  }
  std::chrono::nanoseconds now() { return process_->scheduler.now(); }
  template <class T>
  auto must(Task<T> task) {
    T outcome = run(std::move(task));
    REQUIRE(outcome.has_value());
    if constexpr (!std::is_void_v<typename T::value_type>) return std::move(*outcome);
  }

  static constexpr std::uint64_t kDiskBytes = 16 * kBlockBytes;
  void create(const std::string& disk, bool strict, std::uint64_t bytes = kDiskBytes) {
    must(store().create_disk(disk, bytes, DiskPolicy{.strict = strict}));
  }
  std::unique_ptr<BlockDevice> open_disk(const std::string& disk) {
    return must(store().open_device({disk, ""}, Access::kReadWrite, {"the test"}));
  }
  bool strict(const std::string& disk) { return must(store().info({disk, ""})).policy.strict; }

  // With the data, and without waiting for the reclaimer.
  CheckReport check() { return must(check_engine(process_->scheduler, *process_->engine, true)); }
  void rot(PhysicalBlock block) {
    SimFile* file = disk().find(parts().pool.file(block.member()).path());
    REQUIRE(file != nullptr);
    REQUIRE(file->rot(block.offset_bytes(), rng_));
  }

  // Where a block of a disk lies.
  PhysicalBlock place(const std::string& disk, unsigned block) {
    const Tree& tree = parts().tree;
    const View view = tree.view_of(*tree.node(tree.find_disk(disk)->value.head));
    CachedLeaf* leaf = must(parts().map.load(view, LeafIndex{0}));
    const LeafRun run = leaf->leaf.run_at(block);
    parts().map.unpin(leaf);
    REQUIRE(run.kind == LeafRun::Kind::kData);
    return run.physical;
  }
  bool any_mark() {
    const std::uint64_t blocks = machine_.shape.slab_blocks;
    const std::uint64_t start = parts().pool.superblock().slabs_offset_bytes / kBlockBytes;
    return parts().granules.marked({PhysicalBlock::of(0, start), blocks});
  }
  // Blocks named by slots of the staging file.
  std::set<std::uint64_t> slots() {
    std::set<std::uint64_t> blocks;
    for (std::uint64_t slot = 0; slot < kStagingSlots; ++slot) {
      std::uint64_t words[2];
      std::memcpy(words, &machine_.staging[kStagingSlotsOffset + slot * sizeof words], sizeof words);
      for (std::uint64_t i = 0; i < words[1]; ++i) blocks.insert(words[0] + i);
    }
    return blocks;
  }

 private:
  void open() {
    process_ = std::make_unique<Process>(machine_);
    must(process_->open());
    process_->store->start();
  }
  void close() {
    if (!process_) return;
    const bool closed = run(process_->store->close()).has_value();
    CHECK(closed != parts().journal.failed());
    process_.reset();
  }

  Rng rng_{1};
  Machine machine_;
  std::unique_ptr<Process> process_;
};

inline void fill(House& house, BlockDevice& device, std::uint64_t offset, std::uint64_t length, int byte) {
  AlignedBuffer data(length);
  std::memset(data.data(), byte, length);
  const std::span<const std::byte> bytes = data.first(length);
  house.must(device.write(offset, bytes, WriteFlags{}));
}

// A block's mapping is proven one round behind the one that makes it durable.
inline void settle(House& house, BlockDevice& device) {
  house.must(device.flush());
  house.must(house.parts().journal.prove());
}

}  // namespace coppice::sim
