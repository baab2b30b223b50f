// RawReader: copies a raw image that can be read at any offset onto a disk that holds zeroes.
//
// Neither holes of the file nor its blocks of zeroes are written, so they take no space in the pool. Lives
// on the reactor's thread; the image and the disk outlive copy_to().
#pragma once

#include <optional>
#include <string>

#include "coppice/block_device.h"
#include "coppice/reactor.h"
#include "formats/chunk_slots.h"
#include "formats/image_file.h"
#include "formats/transfer.h"

namespace coppice::formats {

class RawReader {
 public:
  RawReader(Reactor& reactor, ImageFile image, TransferHooks hooks)
      : reactor_(reactor), image_(image), hooks_(std::move(hooks)), slots_(reactor) {}

  // `name` is the disk's, for messages.
  Task<Outcome<>> copy_to(BlockDevice& disk, std::string name);

 private:
  struct Chunk {
    std::uint64_t offset_bytes = 0;
    std::size_t length_bytes = 0;
  };
  std::optional<Chunk> next_chunk();
  void find_data();
  Task<void> copy_chunk(BlockDevice& disk, Chunk chunk, AlignedBuffer* buffer);
  Task<Outcome<>> move_chunk(BlockDevice& disk, Chunk chunk, std::span<std::byte> bytes);

  Reactor& reactor_;
  ImageFile image_;
  TransferHooks hooks_;
  ChunkSlots slots_;
  std::string name_;
  std::uint64_t position_ = 0;
  std::uint64_t data_end_ = 0;  // of the stretch of data that position_ is in
  std::optional<Failure> failure_;
};

// Writes what is not zero of `bytes`, which begin on a block of the disk.
Task<Outcome<>> write_data(BlockDevice& disk, std::string name, std::uint64_t offset_bytes,
                           std::span<const std::byte> bytes);

}  // namespace coppice::formats
