// ScratchDevice: a snapshot that may be written, for as long as it is open.
//
// What is written lies over the snapshot in memory, kMostBytes of it, and is gone with the device: room for a
// file system to play back its journal when it is mounted, and for no more. Lives on the reactor's thread.
#pragma once

#include <cstdint>
#include <memory>
#include <unordered_map>

#include "coppice/aligned_buffer.h"
#include "coppice/block_device.h"

namespace coppice::fuse {

class ScratchDevice final : public BlockDevice {
 public:
  static constexpr std::uint64_t kMostBytes = std::uint64_t{512} << 20;

  explicit ScratchDevice(std::unique_ptr<BlockDevice> below) : below_(std::move(below)) {}

  [[nodiscard]] std::uint64_t size_bytes() const override { return below_->size_bytes(); }
  [[nodiscard]] bool read_only() const override { return false; }

  Task<Result<>> read(std::uint64_t offset_bytes, std::span<std::byte> into) override;
  Task<Result<>> write(std::uint64_t offset_bytes, std::span<const std::byte> from,
                       WriteFlags flags) override;
  Task<Result<>> write_zeroes(std::uint64_t offset_bytes, std::uint64_t length_bytes,
                              ZeroFlags flags) override;
  Task<Result<>> discard(std::uint64_t offset_bytes, std::uint64_t length_bytes, WriteFlags flags) override;
  Task<Result<>> flush() override;
  // As below: holes that were written since are not told.
  Task<Result<>> extents(std::uint64_t offset_bytes, std::uint64_t length_bytes, std::size_t max_extents,
                         std::vector<Extent>& into) override;

 private:
  Task<Result<std::byte*>> block_to_write(std::uint64_t block, bool whole);
  Task<Result<>> put(std::uint64_t offset_bytes, std::uint64_t length_bytes, const std::byte* from);

  std::unique_ptr<BlockDevice> below_;
  std::unordered_map<std::uint64_t, AlignedBuffer> written_;  // by block
};

}  // namespace coppice::fuse
