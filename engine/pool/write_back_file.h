// WriteBackFile: a file of which everything that is read is written back, the same bytes to the same place.
//
// After a failed sync the system may show what it will never write. A process that comes next would build on
// it, and a power cut would take it away later. Written back, it is covered by the next sync, or that one
// fails as well. Used by recovery only, while nobody else writes. Threads: the store's scheduler.
#pragma once

#include <memory>
#include <utility>

#include "io/block_file.h"

namespace coppice {

class WriteBackFile final : public BlockFile {
 public:
  explicit WriteBackFile(std::unique_ptr<BlockFile> inner) : inner_(std::move(inner)) {}
  void submit(IoRequest& request) override;
  [[nodiscard]] std::uint64_t size_bytes() const override { return inner_->size_bytes(); }
  Result<> extend(std::uint64_t size_bytes) override { return inner_->extend(size_bytes); }
  Result<bool> try_lock() override { return inner_->try_lock(); }
  [[nodiscard]] const std::string& path() const override { return inner_->path(); }
  // Nothing may be in flight.
  std::unique_ptr<BlockFile> take() { return std::move(inner_); }

 private:
  Task<void> read_and_write_back(IoRequest& request);

  std::unique_ptr<BlockFile> inner_;
};

}  // namespace coppice
