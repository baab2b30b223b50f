// A real store in a folder of its own, for tests of what the control plane promises.
#pragma once

#include <unistd.h>

#include <algorithm>
#include <catch2/catch.hpp>
#include <filesystem>
#include <memory>
#include <string>
#include <vector>

#include "coppice/aligned_buffer.h"
#include "coppice/store.h"

namespace coppice::test {

class StoreFixture {
 public:
  explicit StoreFixture(std::uint64_t pool_bytes = 0) {
    std::filesystem::remove_all(directory);
    InitOptions options{.directory = directory.string(), .pools = {}};
    if (pool_bytes != 0) options.pools.push_back({directory.string() + "/pool", pool_bytes});
    require(run(init_store(*reactor, std::move(options), {})));
    open();
  }
  ~StoreFixture() {
    if (store) close();
    std::filesystem::remove_all(directory);
  }
  StoreFixture(const StoreFixture&) = delete;
  StoreFixture& operator=(const StoreFixture&) = delete;

  template <class T>
  T run(Task<T> task) {
    return reactor->run(std::move(task));
  }
  template <class T>
  void require(const Outcome<T>& outcome) {
    if (!outcome) FAIL(outcome.error().message);
  }
  template <class T>
  void refused(const Outcome<T>& outcome, ErrorKind kind, const std::string& says) {
    REQUIRE_FALSE(outcome.has_value());
    CHECK(outcome.error().message.find(says) != std::string::npos);
    INFO(outcome.error().message);
    CHECK(kind_name(outcome.error().kind) == std::string(kind_name(kind)));
  }
  void open() {
    OpenOptions options{.directory = directory.string(),
                        .notice = [this](const std::string& text) { notices.push_back(text); }};
    options.wall_clock = [this] { return now_ms; };
    auto opened = run(open_store(*reactor, std::move(options)));
    require(opened);
    store = std::move(*opened);
  }
  void close() {
    require(run(store->close()));
    store.reset();
  }
  void reopen() {
    close();
    open();
  }
  void create(const std::string& disk) { require(run(store->create_disk(disk, 1 << 20))); }
  void snapshot(const std::string& disk, const std::string& name) {
    require(run(store->snapshot({{disk, name}}, {})));
  }
  NodeInfo info(const std::string& disk, const std::string& snapshot = "") {
    auto found = run(store->info({disk, snapshot}));
    require(found);
    return *found;
  }

  // What was told since the last look at it, of lines that hold `part`.
  std::size_t told(const std::string& part) {
    const auto count = std::ranges::count_if(
        notices, [&](const std::string& text) { return text.find(part) != std::string::npos; });
    notices.clear();
    return static_cast<std::size_t>(count);
  }
  std::vector<std::string> names() {
    auto nodes = run(store->tree(std::nullopt));
    require(nodes);
    std::vector<std::string> all;
    for (const NodeInfo& node : *nodes) {
      if (node.kind != NodeInfo::Kind::kDeleted) all.push_back(Spec{node.disk, node.snapshot}.text());
    }
    std::ranges::sort(all);
    return all;
  }
  // The byte at the disk's start, and a megabyte of it.
  void fill(const std::string& disk, char value, std::uint64_t offset = 0) {
    auto device = run(store->open_device({disk, ""}, Access::kReadWrite, {"test"}));
    require(device);
    AlignedBuffer buffer(1 << 20);
    std::ranges::fill(buffer.span(), static_cast<std::byte>(value));
    auto written = run((*device)->write(offset, buffer.span(), WriteFlags{}));
    REQUIRE(written.has_value());
  }
  char first(const std::string& disk, const std::string& snapshot = "") {
    auto device = run(store->open_device({disk, snapshot}, Access::kReadOnly, {"test"}));
    require(device);
    AlignedBuffer buffer(4096);
    auto read = run((*device)->read(0, buffer.span()));
    REQUIRE(read.has_value());
    return static_cast<char>(buffer.span()[0]);
  }
  void check() { CHECK(run(store->check(true))->problems.empty()); }

  static constexpr std::int64_t kHour = 3'600'000;
  std::int64_t now_ms = 1'700'000'000'000;
  std::vector<std::string> notices;
  std::unique_ptr<Reactor> reactor = std::move(*Reactor::create());
  std::filesystem::path directory =
      std::filesystem::current_path() / ("store-test-" + std::to_string(getpid()));
  std::unique_ptr<Store> store;
};

}  // namespace coppice::test
