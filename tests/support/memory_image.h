// An image in memory as the BlockFile that a reader of images stands on. Reads are done when they are
// submitted.
#pragma once

#include <cerrno>
#include <cstring>
#include <optional>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "io/block_file.h"

namespace coppice {

class MemoryImage final : public BlockFile {
 public:
  explicit MemoryImage(std::vector<std::byte> bytes) : bytes_(std::move(bytes)) {}
  void submit(IoRequest& request) override {
    request.error = read(request.offset_bytes, {request.memory, request.length_bytes}) ? 0 : EIO;
    request.latch->arrive();
  }
  [[nodiscard]] bool read(std::uint64_t offset, std::span<std::byte> into) const {
    if (offset > bytes_.size() || into.size() > bytes_.size() - offset) return false;
    if (!into.empty()) std::memcpy(into.data(), bytes_.data() + offset, into.size());
    return true;
  }
  [[nodiscard]] std::uint64_t size_bytes() const override { return bytes_.size(); }
  Result<> extend(std::uint64_t /*size_bytes*/) override {
    return fail(ErrorKind::kReadOnly, EROFS, "an image");
  }
  Result<bool> try_lock() override { return true; }
  [[nodiscard]] const std::string& path() const override { return path_; }

 private:
  std::vector<std::byte> bytes_;
  std::string path_ = "/memory";
};

// The request's error, or 0. Nothing if it did not end at once.
inline std::optional<int> read_at_once(BlockFile& file, std::uint64_t offset, std::span<std::byte> into) {
  Latch latch(1);
  IoRequest request;
  request.offset_bytes = offset;
  request.memory = into.data();
  request.length_bytes = into.size();
  request.latch = &latch;
  file.submit(request);
  return latch.await_ready() ? std::optional(request.error) : std::nullopt;
}

}  // namespace coppice
