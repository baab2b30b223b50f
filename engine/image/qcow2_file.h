// A qcow2 image as a BlockFile that is only read: what it holds, as a raw image of its size.
//
// Its first table is in memory; those of the second level, and clusters that were unpacked, are kept as far
// as a few MiB go. What its tables say is checked when it is followed: what is damaged is EIO there, the rest
// is read. Unpacking runs on the scheduler's thread: a fraction of a millisecond for clusters as they
// commonly are. Threads: the scheduler of the file below; what is blocking, any other one.
#pragma once

#include <functional>
#include <memory>
#include <span>

#include "image/qcow2.h"
#include "io/block_file.h"

namespace coppice {

// Fills the span from there, blocking; false where that can't be.
using ReadAt = std::function<bool(std::uint64_t offset_bytes, std::span<std::byte> into)>;

Outcome<Qcow2Header> read_qcow2_header(const ReadAt& read, std::uint64_t file_bytes);
// `file` and `read` are of the same file, of that size. Blocking.
Outcome<std::unique_ptr<BlockFile>> open_qcow2(std::unique_ptr<BlockFile> file, ReadAt read,
                                               std::uint64_t file_bytes);

}  // namespace coppice
