// One file with several who have it open, on a real store in a folder of its own.
#include "fuse/open_file.h"

#include <catch2/catch.hpp>
#include <filesystem>

#include "coppice/reactor.h"

using namespace coppice;
using namespace coppice::fuse;

namespace {

constexpr std::uint64_t kSize = std::uint64_t{1} << 20;

class OpenStore {
 public:
  OpenStore() {
    auto made = Reactor::create();
    REQUIRE(made.has_value());
    reactor_ = std::move(*made);
    std::string folder = (std::filesystem::current_path() / "fuse-unit-XXXXXX").string();
    REQUIRE(::mkdtemp(folder.data()) != nullptr);
    folder_ = folder;
    const std::string directory = folder + "/store";
    REQUIRE(reactor_->run(init_store(*reactor_, {.directory = directory, .pools = {}}, {})).has_value());
    OpenOptions options;
    options.directory = directory;
    auto opened = reactor_->run(open_store(*reactor_, options));
    REQUIRE(opened.has_value());
    store_ = std::move(*opened);
    REQUIRE(reactor_->run(store_->create_disk("web", kSize)).has_value());
  }
  OpenStore(const OpenStore&) = delete;
  OpenStore& operator=(const OpenStore&) = delete;
  ~OpenStore() {
    CHECK(reactor_->run(store_->close()).has_value());
    store_.reset();
    std::filesystem::remove_all(folder_);
  }

  template <class T>
  T run(Task<T> task) {
    return reactor_->run(std::move(task));
  }
  Store& store() { return *store_; }
  Reactor& reactor() { return *reactor_; }
  std::uint64_t attachments() { return run(store_->info({"web", ""}))->attachments; }
  OpenFile::Name name = []() -> Task<std::optional<Spec>> { co_return Spec{"web", ""}; };

 private:
  std::unique_ptr<Reactor> reactor_;
  std::unique_ptr<Store> store_;
  std::string folder_;
};

}  // namespace

TEST_CASE("all who have a file open share one attachment, for writing while one of them may") {
  OpenStore store;
  OpenFile file(store.reactor(), store.store(), store.name, {"a test", "FUSE"});
  REQUIRE(store.run(file.open(Access::kReadOnly)).has_value());
  CHECK(file.device()->read_only());
  REQUIRE(store.run(file.open(Access::kReadWrite)).has_value());
  CHECK_FALSE(file.device()->read_only());
  CHECK(store.attachments() == 1);
  store.run(file.close(Access::kReadWrite));
  CHECK(file.device()->read_only());
  store.run(file.close(Access::kReadOnly));
  CHECK_FALSE(file.in_use());
  CHECK(store.attachments() == 0);
}

TEST_CASE("a writer by another way is refused, a reader and a shared one are not") {
  OpenStore store;
  OpenFile file(store.reactor(), store.store(), store.name, {"a test", "FUSE"});
  REQUIRE(store.run(file.open(Access::kReadWrite)).has_value());
  auto other = store.run(store.store().open_device({"web", ""}, Access::kReadWrite, {"pid 1", "NBD"}));
  REQUIRE_FALSE(other.has_value());
  CHECK(other.error().kind == ErrorKind::kBusy);
  CHECK(other.error().message.find("a test") != std::string::npos);
  CHECK(store.run(store.store().open_device({"web", ""}, Access::kReadOnly, {"pid 1", "NBD"})).has_value());
  CHECK(store.run(store.store().open_device({"web", ""}, Access::kReadWrite, {"pid 1", "NBD", true}))
            .has_value());
  CHECK(store.run(store.store().open_device({"web", ""}, Access::kReadWrite, {"pid 1", "FUSE"})).has_value());
  // Once the writer here is gone, though a reader is not.
  REQUIRE(store.run(file.open(Access::kReadOnly)).has_value());
  store.run(file.close(Access::kReadWrite));
  other = store.run(store.store().open_device({"web", ""}, Access::kReadWrite, {"pid 1", "NBD"}));
  REQUIRE(other.has_value());
  CHECK(store.run(file.open(Access::kReadWrite)).error().kind == ErrorKind::kBusy);
  other->reset();
  store.run(file.close(Access::kReadOnly));
}

TEST_CASE("a size is changed below who has the file open, and not below others") {
  OpenStore store;
  OpenFile file(store.reactor(), store.store(), store.name, {"a test", "FUSE"});
  REQUIRE(store.run(file.open(Access::kReadWrite)).has_value());
  REQUIRE(store.run(file.resize(2 * kSize)).has_value());
  CHECK(file.device()->size_bytes() == 2 * kSize);
  CHECK_FALSE(file.device()->read_only());
  CHECK(store.run(file.resize(1000)).error().kind == ErrorKind::kInvalid);
  REQUIRE(file.device() != nullptr);
  auto other = store.run(store.store().open_device({"web", ""}, Access::kReadOnly, {"pid 1", "NBD"}));
  REQUIRE(other.has_value());
  CHECK(store.run(file.resize(kSize)).error().kind == ErrorKind::kBusy);
  CHECK(file.device()->size_bytes() == 2 * kSize);
  other->reset();
  store.run(file.close(Access::kReadWrite));
}

TEST_CASE("a change waits for who is inside, and who comes waits for the change") {
  OpenStore store;
  OpenFile file(store.reactor(), store.store(), store.name, {"a test", "FUSE"});
  REQUIRE(store.run(file.open(Access::kReadWrite)).has_value());
  REQUIRE(file.try_enter());
  bool resized = false;
  bool entered = false;
  const auto resize = [&]() -> Task<void> {
    const auto done = co_await file.resize(2 * kSize);
    resized = done.has_value();
  };
  const auto enter = [&]() -> Task<void> {
    co_await file.wait_to_enter();
    CHECK(file.device()->size_bytes() == 2 * kSize);
    entered = true;
    file.leave();
  };
  spawn(resize());
  CHECK_FALSE(file.try_enter());
  spawn(enter());
  const auto pass = [&]() -> Task<void> {
    co_await sleep_for(store.reactor(), std::chrono::milliseconds(20));
  };
  store.run(pass());
  CHECK_FALSE(resized);
  CHECK_FALSE(entered);
  file.leave();
  const auto wait = [&]() -> Task<void> {
    while (!resized || !entered) co_await sleep_for(store.reactor(), std::chrono::milliseconds(1));
  };
  store.run(wait());
  store.run(file.close(Access::kReadWrite));
}

TEST_CASE("a file that is not there any more") {
  OpenStore store;
  const OpenFile::Name gone = []() -> Task<std::optional<Spec>> { co_return std::nullopt; };
  OpenFile file(store.reactor(), store.store(), gone, {"a test", "FUSE"});
  CHECK(store.run(file.open(Access::kReadOnly)).error().kind == ErrorKind::kNotFound);
  CHECK(store.run(file.resize(kSize)).error().kind == ErrorKind::kNotFound);
  CHECK_FALSE(file.in_use());
}

TEST_CASE("what is allocated is told without holding anybody up") {
  OpenStore store;
  const auto told = [&](const Spec& spec, std::chrono::nanoseconds budget) {
    return *store.run(store.store().allocated(spec, budget));
  };
  CHECK(told({"web", ""}, std::chrono::seconds(1)).bytes == 0);
  OpenFile file(store.reactor(), store.store(), store.name, {"a test", "FUSE"});
  REQUIRE(store.run(file.open(Access::kReadWrite)).has_value());
  const std::vector<std::byte> data(3 * kBlockBytes, std::byte{7});
  REQUIRE(store.run(file.device()->write(8 * kBlockBytes, data, {})).has_value());
  REQUIRE(store.run(store.store().snapshot({{"web", "s"}}, {})).has_value());
  REQUIRE(store.run(file.device()->write(0, data, {})).has_value());
  const auto unseen = told({"web", "s"}, std::chrono::nanoseconds(0));
  CHECK(unseen.bytes == kSize);
  CHECK_FALSE(unseen.exact);
  CHECK(told({"web", ""}, std::chrono::seconds(1)).bytes == 6 * kBlockBytes);
  const auto snapshot = told({"web", "s"}, std::chrono::seconds(1));
  CHECK(snapshot.bytes == 3 * kBlockBytes);
  CHECK(snapshot.exact);
  store.run(file.close(Access::kReadWrite));
}

TEST_CASE("a store's changes are counted") {
  OpenStore store;
  const std::uint64_t before = store.store().changes();
  CHECK(before != 0);
  CHECK(store.run(store.store().tree(std::nullopt)).has_value());
  CHECK(store.store().changes() == before);
  REQUIRE(store.run(store.store().snapshot({{"web", "s"}}, {})).has_value());
  const std::uint64_t behind = store.store().changes();
  CHECK(behind != before);
  REQUIRE(store.run(store.store().rename({"web", "s"}, "t")).has_value());
  CHECK(store.store().changes() != behind);
}
