// A pool on real files in a scratch folder, through a real Reactor, with a tap on the requests.
//
// Coroutines are run to their end outside of the test's assertions: a failed one throws, which a coroutine
// must not.
#pragma once

#include <algorithm>
#include <catch2/catch.hpp>
#include <cerrno>
#include <cstring>
#include <functional>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "../io/scratch.h"
#include "coppice/aligned_buffer.h"
#include "coppice/reactor.h"
#include "pool/pool.h"

namespace coppice::test {

inline constexpr std::uint64_t kMiB = std::uint64_t{1} << 20;

// What passes through a tapped file, and which of it fails.
struct Tap {
  std::vector<IoRequest::Kind> log;
  std::function<int(const IoRequest&)> fail;  // errno, or 0: pass it on
  bool refuse_direct = false;
  std::string full;  // extending a file whose path ends so finds the file system full

  [[nodiscard]] std::size_t count(IoRequest::Kind kind) const {
    return static_cast<std::size_t>(std::ranges::count(log, kind));
  }
};

class TappedFile final : public BlockFile {
 public:
  TappedFile(std::unique_ptr<BlockFile> inner, Tap& tap) : inner_(std::move(inner)), tap_(tap) {}
  void submit(IoRequest& request) override {
    tap_.log.push_back(request.kind);
    const int error = tap_.fail ? tap_.fail(request) : 0;
    if (error == 0) return inner_->submit(request);
    request.error = error;
    request.latch->arrive();
  }
  [[nodiscard]] std::uint64_t size_bytes() const override { return inner_->size_bytes(); }
  Result<> extend(std::uint64_t size_bytes) override {
    if (!tap_.full.empty() && path().ends_with(tap_.full))
      return coppice::fail(ErrorKind::kNoSpace, ENOSPC, "the file system below the pool is full");
    return inner_->extend(size_bytes);
  }
  Result<> reserve(std::uint64_t offset_bytes, std::uint64_t length_bytes) override {
    return inner_->reserve(offset_bytes, length_bytes);
  }
  std::uint64_t first_hole(std::uint64_t from_bytes, std::uint64_t to_bytes) override {
    return inner_->first_hole(from_bytes, to_bytes);
  }
  std::optional<std::uint64_t> room_bytes() override { return inner_->room_bytes(); }
  Result<bool> try_lock() override { return inner_->try_lock(); }
  [[nodiscard]] const std::string& path() const override { return inner_->path(); }

 private:
  std::unique_ptr<BlockFile> inner_;
  Tap& tap_;
};

struct PoolFixture {
  std::unique_ptr<Reactor> reactor;
  Scratch scratch;
  Tap tap;
  Uuid store = random_uuid();
  Uuid metadata = random_uuid();
  std::vector<std::string> notices;
  std::unique_ptr<Pool> pool;

  PoolFixture() {
    auto made = Reactor::create();
    REQUIRE(made.has_value());
    reactor = std::move(*made);
  }

  template <class T>
  T run(Task<T> task) {
    return reactor->run(std::move(task));
  }
  // For what must succeed; returns its value.
  template <class T>
  auto must(Task<T> task) {
    auto outcome = reactor->run(std::move(task));
    if (!outcome.has_value()) FAIL(text_of(outcome.error()));
    if constexpr (!std::is_void_v<typename T::value_type>) return std::move(*outcome);
  }

  OpenFile opener() {
    return [this](const std::string& path, BlockFileOptions options) -> Result<std::unique_ptr<BlockFile>> {
      if (tap.refuse_direct && options.direct)
        return coppice::fail(ErrorKind::kUnsupported, EINVAL, "O_DIRECT is not to be had");
      auto file = open_block_file(*reactor, path, options);
      if (!file) return std::unexpected(file.error());
      return std::make_unique<TappedFile>(std::move(*file), tap);
    };
  }
  Notice notice() {
    return [this](const std::string& line) { notices.push_back(line); };
  }

  Outcome<> try_create(const std::vector<NewMember>& members) {
    const OpenFile open_file = opener();
    const Notice tell = notice();
    return run(Pool::create(*reactor, members, store, metadata, open_file, tell));
  }
  // A lock frees when the last request of its holder is gone, a moment after the holder is.
  Outcome<std::unique_ptr<Pool>> try_open(std::vector<std::string> paths,
                                          std::chrono::seconds lock_wait = std::chrono::seconds{3}) {
    return run(Pool::open(*reactor, {std::move(paths), store, opener(), notice(), lock_wait}));
  }

  // One fixed file of so many slabs of 16 MiB, all of them added.
  void make_pool(std::uint64_t slabs) {
    const std::uint64_t size_bytes = (slabs * 16 + 4) * kMiB * 8 / 7 + kMiB;  // an eighth is the journal's
    const auto created = try_create({{scratch.file("pool.0"), size_bytes}});
    if (!created) FAIL(created.error().message);
    reopen();
    for (std::uint64_t i = 0; i < slabs; ++i) must(pool->add_slab());
  }
  void reopen() {
    pool.reset();
    auto opened = try_open({scratch.file("pool.0")});
    if (!opened) FAIL(opened.error().message);
    pool = std::move(*opened);
  }

  // A block of the pool's first file, as the disk has it.
  AlignedBuffer read_raw(std::uint64_t offset_bytes, std::size_t bytes = kBlockBytes) {
    AlignedBuffer buffer(bytes);
    must(read_blocks(pool->file(0), offset_bytes, buffer.span()));
    return buffer;
  }
  void flip_bytes(PhysicalBlock block) {
    AlignedBuffer buffer = read_raw(block.offset_bytes());
    for (std::size_t i = 2048; i < 2064; ++i) buffer.data()[i] ^= std::byte{0x5a};
    must(write_blocks(pool->file(0), block.offset_bytes(), buffer.span()));
  }

  static std::string text_of(const Error& error) { return error.text; }
  static std::string text_of(const Failure& failure) { return failure.message; }
};

}  // namespace coppice::test
