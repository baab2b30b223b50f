// SpaceReserve: a file that only takes up space, so that there is some when the file system is full.
//
// RocksDB writes new files all the time; where it can't, the store could neither checkpoint nor free
// anything. When the file system is nearly full the reserve is removed, which gives it room to go on; it is
// made again when there is plenty. RocksDB should not meet a full file system at all: built with assertions,
// as Debian's is, it ends the process there.
//
// Threads: any.
#pragma once

#include <cstdint>
#include <mutex>
#include <string>

namespace coppice {

class SpaceReserve {
 public:
  // The size follows the file system's: 1/32 of it within 32 and 256 MiB, but at most 1/8.
  explicit SpaceReserve(std::string path);

  // Makes the file if it is not there and half as much again is free. Whether it is there. Blocking.
  bool fill();
  // Called before RocksDB writes: releases it where less than half its size is free. Whether `least_bytes`
  // are free then, and a bit more. Blocking.
  bool make_room(std::uint64_t least_bytes);
  // Removes it; false if it was not there. Blocking.
  bool release();
  [[nodiscard]] bool held();
  [[nodiscard]] std::uint64_t size_bytes() const { return size_bytes_; }
  [[nodiscard]] const std::string& path() const { return path_; }

 private:
  std::string path_;
  std::uint64_t size_bytes_ = 0;
  std::mutex lock_;
  bool held_ = false;
};

// Whether the file system at `path` is so small that RocksDB has to make do with little.
bool on_small_file_system(const std::string& path);

}  // namespace coppice
