// Many requests to the pool's files at once, with a bound on how many are in flight.
// Threads: the store's scheduler.
#pragma once

#include <cstddef>
#include <span>

#include "coppice/result.h"
#include "coppice/task.h"
#include "io/block_file.h"

namespace coppice {

struct FileRequest {
  BlockFile* file = nullptr;
  IoRequest io;
};

// So many that a device is busy, so few that a guest's request does not stand behind a long queue.
inline constexpr std::size_t kRequestWindow = 32;

// Performs all of them, in any order, and returns the first error; each request's own stands in `io.error`.
// Those after a failed window are not started: their error is ECANCELED.
Task<Result<>> perform_all(std::span<FileRequest> requests);

inline FileRequest read_request(BlockFile& file, std::uint64_t offset_bytes, std::span<std::byte> into) {
  FileRequest request{.file = &file, .io = {}};
  request.io.kind = IoRequest::Kind::kRead;
  request.io.offset_bytes = offset_bytes;
  request.io.memory = into.data();
  request.io.length_bytes = into.size();
  return request;
}

inline FileRequest write_request(BlockFile& file, std::uint64_t offset_bytes, std::span<std::byte> from) {
  FileRequest request = read_request(file, offset_bytes, from);
  request.io.kind = IoRequest::Kind::kWrite;
  return request;
}

}  // namespace coppice
