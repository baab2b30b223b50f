#include "pool/overlay_file.h"

#include <cerrno>
#include <cstring>
#include <span>

namespace coppice {

void OverlayFile::submit(IoRequest& request) {
  if (request.kind == IoRequest::Kind::kRead) {
    if (written_blocks_.empty()) return inner_->submit(request);
    return spawn(read_under(request));
  }
  if (request.kind != IoRequest::Kind::kSync) keep(request);
  request.error = 0;
  request.latch->arrive();
}

Result<> OverlayFile::extend(std::uint64_t size_bytes) {
  if (size_bytes <= inner_->size_bytes()) return {};
  return fail(ErrorKind::kReadOnly, EROFS, "the store is open read-only");
}

void OverlayFile::keep(const IoRequest& request) {
  for (std::uint64_t done = 0; done < request.length_bytes; done += kBlockBytes) {
    auto& block = written_blocks_[(request.offset_bytes + done) / kBlockBytes];
    if (!block) block = std::make_unique<Block>();
    if (request.kind == IoRequest::Kind::kWrite) {
      std::memcpy(block->data(), request.memory + done, kBlockBytes);
    } else {
      block->fill(std::byte{0});
    }
  }
}

// What is covered entirely does not depend on the file.
Task<void> OverlayFile::read_under(IoRequest& request) {
  const std::span<std::byte> memory(request.memory, request.length_bytes);
  auto read = co_await read_blocks(*inner_, request.offset_bytes, memory);
  bool covered = true;
  for (std::uint64_t done = 0; done < request.length_bytes; done += kBlockBytes) {
    const auto block = written_blocks_.find((request.offset_bytes + done) / kBlockBytes);
    covered = covered && block != written_blocks_.end();
    if (block != written_blocks_.end())
      std::memcpy(request.memory + done, block->second->data(), kBlockBytes);
  }
  request.error = read || covered ? 0 : errno_of(read.error());
  request.latch->arrive();
}

}  // namespace coppice
