#include "pool/write_back_file.h"

#include <span>

namespace coppice {

void WriteBackFile::submit(IoRequest& request) {
  if (request.kind != IoRequest::Kind::kRead) return inner_->submit(request);
  spawn(read_and_write_back(request));
}

Task<void> WriteBackFile::read_and_write_back(IoRequest& request) {
  const std::span<std::byte> memory(request.memory, request.length_bytes);
  auto done = co_await read_blocks(*inner_, request.offset_bytes, memory);
  if (done) done = co_await write_blocks(*inner_, request.offset_bytes, memory);
  request.error = done ? 0 : errno_of(done.error());
  request.latch->arrive();
}

}  // namespace coppice
