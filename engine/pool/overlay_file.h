// OverlayFile: a file that is never written. What is written to it is kept in memory, block by block, and
// covers what the file holds.
//
// Under a store that is open read-only: recovery runs as always, and nothing of it reaches the file.
// Invariant: `inner` only ever sees reads. Threads: the store's scheduler.
#pragma once

#include <array>
#include <cstdint>
#include <memory>
#include <unordered_map>
#include <utility>

#include "coppice/types.h"
#include "io/block_file.h"

namespace coppice {

class OverlayFile final : public BlockFile {
 public:
  explicit OverlayFile(std::unique_ptr<BlockFile> inner) : inner_(std::move(inner)) {}
  void submit(IoRequest& request) override;
  [[nodiscard]] std::uint64_t size_bytes() const override { return inner_->size_bytes(); }
  Result<> extend(std::uint64_t size_bytes) override;
  Result<bool> try_lock() override { return inner_->try_lock(); }
  [[nodiscard]] const std::string& path() const override { return inner_->path(); }

 private:
  using Block = std::array<std::byte, kBlockBytes>;
  Task<void> read_under(IoRequest& request);
  void keep(const IoRequest& request);

  std::unique_ptr<BlockFile> inner_;
  std::unordered_map<std::uint64_t, std::unique_ptr<Block>> written_blocks_;
};

}  // namespace coppice
