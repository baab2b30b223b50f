// A real store in a folder of its own, for tests of what the control plane promises.
#pragma once

#include <unistd.h>

#include <catch2/catch.hpp>
#include <filesystem>
#include <memory>
#include <string>
#include <vector>

#include "coppice/store.h"

namespace coppice::test {

class StoreFixture {
 public:
  StoreFixture() {
    std::filesystem::remove_all(directory);
    require(run(init_store(*reactor, {.directory = directory.string(), .pools = {}}, {})));
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
    auto opened = run(open_store(*reactor, {.directory = directory.string(), .notice = {}}));
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

  std::unique_ptr<Reactor> reactor = std::move(*Reactor::create());
  std::filesystem::path directory =
      std::filesystem::current_path() / ("store-test-" + std::to_string(getpid()));
  std::unique_ptr<Store> store;
};

}  // namespace coppice::test
