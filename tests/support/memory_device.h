// Disks in memory, for tests of what stands on BlockDevice: they remember what was asked of them, can be told
// to fail or to hold requests back, and know whether anyone is attached.
//
// MemoryDisk is the content, MemoryDevice one attachment to it. Memory is only used where it was written.
// Reactor's thread, but for what is marked as atomic.
#pragma once

#include <algorithm>
#include <atomic>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <optional>
#include <vector>

#include "coppice/block_device.h"
#include "coppice/scheduler.h"

namespace coppice::test {

class MemoryDisk {
 public:
  MemoryDisk(Scheduler& scheduler, std::uint64_t size_bytes)
      : size_bytes_(size_bytes),
        memory_(static_cast<std::byte*>(std::calloc(1, size_bytes + 1))),
        allocated_(round_up(size_bytes, kBlockBytes) / kBlockBytes),
        gate_(scheduler) {
    if (!memory_) std::abort();
  }

  [[nodiscard]] std::uint64_t size_bytes() const { return size_bytes_; }
  [[nodiscard]] std::span<std::byte> content() { return {memory_.get(), size_bytes_}; }
  [[nodiscard]] std::span<std::byte> part(std::uint64_t offset_bytes, std::uint64_t length_bytes) {
    return content().subspan(offset_bytes, length_bytes);
  }
  [[nodiscard]] bool allocated(std::uint64_t block) const { return allocated_[block]; }
  // Frees only whole blocks; allocates every block touched.
  void mark(std::uint64_t offset_bytes, std::uint64_t length_bytes, bool allocated) {
    const std::uint64_t end = offset_bytes + length_bytes;
    std::uint64_t first = offset_bytes / kBlockBytes;
    std::uint64_t last = round_up(end, kBlockBytes) / kBlockBytes;
    if (!allocated) {
      first = round_up(offset_bytes, kBlockBytes) / kBlockBytes;
      if (end != size_bytes_) last = end / kBlockBytes;
    }
    for (std::uint64_t block = first; block < last; ++block) allocated_[block] = allocated;
  }

  // While closed, every request waits at its start.
  void close_gate() { gate_closed_ = true; }
  void open_gate() {
    gate_closed_ = false;
    gate_.wake_all();
  }
  Task<void> pass_gate() {
    ++started;
    while (gate_closed_) co_await gate_.wait();
  }

  std::optional<Error> failure;  // what every request answers
  std::atomic<int> attached{0};
  std::atomic<int> started{0};
  std::atomic<int> flushes{0};
  std::atomic<int> durable_writes{0};
  std::atomic<int> no_hole_zeroes{0};
  std::atomic<int> misaligned_buffers{0};
  std::atomic<int> discards{0};

 private:
  struct Free {
    void operator()(std::byte* memory) const { std::free(memory); }
  };
  std::uint64_t size_bytes_;
  std::unique_ptr<std::byte, Free> memory_;
  std::vector<bool> allocated_;
  bool gate_closed_ = false;
  WaitQueue gate_;
};

class MemoryDevice final : public BlockDevice {
 public:
  MemoryDevice(MemoryDisk& disk, bool read_only) : disk_(disk), read_only_(read_only) { ++disk_.attached; }
  ~MemoryDevice() override { --disk_.attached; }
  MemoryDevice(const MemoryDevice&) = delete;
  MemoryDevice& operator=(const MemoryDevice&) = delete;

  [[nodiscard]] std::uint64_t size_bytes() const override { return disk_.size_bytes(); }
  [[nodiscard]] bool read_only() const override { return read_only_; }

  Task<Result<>> read(std::uint64_t offset_bytes, std::span<std::byte> into) override {
    note_alignment(into.data());
    co_await disk_.pass_gate();
    if (disk_.failure) co_return std::unexpected(*disk_.failure);
    std::ranges::copy(disk_.part(offset_bytes, into.size()), into.begin());
    co_return Result<>{};
  }

  Task<Result<>> write(std::uint64_t offset_bytes, std::span<const std::byte> from,
                       WriteFlags flags) override {
    note_alignment(from.data());
    co_await disk_.pass_gate();
    if (disk_.failure) co_return std::unexpected(*disk_.failure);
    std::ranges::copy(from, disk_.part(offset_bytes, from.size()).begin());
    disk_.mark(offset_bytes, from.size(), true);
    disk_.durable_writes += flags.force_unit_access;
    co_return Result<>{};
  }

  Task<Result<>> write_zeroes(std::uint64_t offset_bytes, std::uint64_t length_bytes,
                              ZeroFlags flags) override {
    co_await disk_.pass_gate();
    if (disk_.failure) co_return std::unexpected(*disk_.failure);
    clear(offset_bytes, length_bytes);
    if (flags.no_hole) disk_.mark(offset_bytes, length_bytes, true);
    disk_.no_hole_zeroes += flags.no_hole;
    disk_.durable_writes += flags.force_unit_access;
    co_return Result<>{};
  }

  Task<Result<>> discard(std::uint64_t offset_bytes, std::uint64_t length_bytes, WriteFlags flags) override {
    co_await disk_.pass_gate();
    if (disk_.failure) co_return std::unexpected(*disk_.failure);
    clear(offset_bytes, length_bytes);
    ++disk_.discards;
    disk_.durable_writes += flags.force_unit_access;
    co_return Result<>{};
  }

  Task<Result<>> flush() override {
    co_await disk_.pass_gate();
    if (disk_.failure) co_return std::unexpected(*disk_.failure);
    ++disk_.flushes;
    co_return Result<>{};
  }

  Task<Result<>> extents(std::uint64_t offset_bytes, std::uint64_t length_bytes, std::size_t max_extents,
                         std::vector<Extent>& into) override {
    co_await disk_.pass_gate();
    if (disk_.failure) co_return std::unexpected(*disk_.failure);
    const std::uint64_t end = offset_bytes + length_bytes;
    std::size_t found = 0;
    while (offset_bytes < end) {
      const std::uint64_t block = offset_bytes / kBlockBytes;
      const std::uint64_t piece_end = std::min(end, (block + 1) * kBlockBytes);
      const bool allocated = disk_.allocated(block);
      if (found != 0 && into.back().allocated == allocated) {
        into.back().length_bytes += piece_end - offset_bytes;
      } else if (found == max_extents) {
        break;
      } else {
        into.push_back({offset_bytes, piece_end - offset_bytes, allocated});
        ++found;
      }
      offset_bytes = piece_end;
    }
    co_return Result<>{};
  }

 private:
  void clear(std::uint64_t offset_bytes, std::uint64_t length_bytes) {
    std::ranges::fill(disk_.part(offset_bytes, length_bytes), std::byte{0});
    disk_.mark(offset_bytes, length_bytes, false);
  }
  void note_alignment(const std::byte* memory) {
    disk_.misaligned_buffers += reinterpret_cast<std::uintptr_t>(memory) % kBlockBytes != 0;
  }

  MemoryDisk& disk_;
  bool read_only_;
};

}  // namespace coppice::test
