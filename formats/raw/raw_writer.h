// RawWriter: copies a disk or snapshot out as a raw image.
//
// A file gets holes where the disk has nothing or zeroes; a block device is written throughout, as it holds
// something older; a stream gets every byte in order. Lives on the reactor's thread; the image and the
// device outlive the copy.
#pragma once

#include <optional>
#include <span>
#include <string>

#include "coppice/block_device.h"
#include "coppice/reactor.h"
#include "formats/chunk_slots.h"
#include "formats/image_file.h"
#include "formats/transfer.h"

namespace coppice::formats {

class RawWriter {
 public:
  // `name` is that of the disk or snapshot, for messages.
  RawWriter(Reactor& reactor, BlockDevice& disk, std::string name, ImageFile image, TransferHooks hooks)
      : reactor_(reactor),
        disk_(disk),
        name_(std::move(name)),
        image_(image),
        hooks_(std::move(hooks)),
        slots_(reactor) {}

  Task<Outcome<>> copy();

 private:
  Task<Outcome<>> copy_to_file();
  Task<Outcome<>> copy_to_device();
  Task<Outcome<>> copy_to_stream();

  Task<void> copy_range(std::uint64_t offset_bytes, std::uint64_t length_bytes);
  Task<void> copy_chunk(std::uint64_t offset_bytes, std::span<std::byte> bytes, AlignedBuffer* buffer);
  Task<Outcome<>> move_chunk(std::uint64_t offset_bytes, std::span<std::byte> bytes);
  Task<void> read_ahead(std::uint64_t offset_bytes, std::span<std::byte> bytes, Latch& done);
  Task<Outcome<>> finish();

  void fail(Failure failure) {
    if (!failure_) failure_ = std::move(failure);
  }
  void report(std::uint64_t done_bytes);

  Reactor& reactor_;
  BlockDevice& disk_;
  std::string name_;
  ImageFile image_;
  TransferHooks hooks_;
  ChunkSlots slots_;
  std::optional<Failure> failure_;
};

}  // namespace coppice::formats
