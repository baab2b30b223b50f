// RawStream: takes in a raw image of unknown length from a pipe or socket, a window at a time.
//
// Lives on the reactor's thread. Windows are read in order and are full, but for the last.
#pragma once

#include <algorithm>
#include <string_view>
#include <vector>

#include "coppice/aligned_buffer.h"
#include "coppice/block_device.h"
#include "coppice/reactor.h"
#include "coppice/result.h"
#include "coppice/scheduler.h"
#include "coppice/task.h"
#include "formats/image_file.h"

namespace coppice::formats {

class RawStream {
 public:
  RawStream(Reactor& reactor, int descriptor);

  // Reads the next window; 0 at the end of the stream.
  Task<Outcome<std::size_t>> fill();
  // How the window begins: at most kHeadBytes of it.
  [[nodiscard]] std::string_view head() const {
    return {reinterpret_cast<const char*>(chunks_.front().data()), std::min(filled_bytes_, kHeadBytes)};
  }
  // Writes the window's data, several chunks at a time.
  Task<Outcome<>> store(BlockDevice& disk, std::string name, std::uint64_t offset_bytes);

 private:
  Task<void> store_chunk(BlockDevice& disk, std::string name, std::uint64_t offset_bytes,
                         std::span<const std::byte> bytes, Latch& done, Outcome<>& outcome);

  Reactor& reactor_;
  int descriptor_;
  std::vector<AlignedBuffer> chunks_;
  std::size_t filled_bytes_ = 0;
};

}  // namespace coppice::formats
