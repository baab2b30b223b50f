#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <catch2/catch.hpp>
#include <cerrno>
#include <csignal>
#include <cstring>
#include <memory>
#include <random>

#include "coppice/aligned_buffer.h"
#include "io/block_file.h"
#include "scratch.h"

namespace coppice {
namespace {

struct Fixture {
  std::unique_ptr<Reactor> reactor;
  test::Scratch scratch;
  Fixture() {
    auto made = Reactor::create();
    REQUIRE(made.has_value());
    reactor = std::move(*made);
  }
  std::unique_ptr<BlockFile> create(const std::string& name, std::uint64_t size_bytes) {
    auto file = open_block_file(*reactor, scratch.file(name), {.create = true});
    REQUIRE(file.has_value());
    REQUIRE((*file)->extend(size_bytes).has_value());
    return std::move(*file);
  }
  Result<> write(BlockFile& file, std::uint64_t offset, const AlignedBuffer& from) {
    return reactor->run(write_blocks(file, offset, from.span()));
  }
  Result<> read(BlockFile& file, std::uint64_t offset, AlignedBuffer& into) {
    return reactor->run(read_blocks(file, offset, into.span()));
  }
};

AlignedBuffer filled(std::size_t size, std::uint32_t seed) {
  AlignedBuffer buffer(size);
  std::mt19937 random(seed);
  for (std::byte& byte : buffer.span()) byte = static_cast<std::byte>(random());
  return buffer;
}

bool equal(const AlignedBuffer& left, const AlignedBuffer& right) {
  return left.size() == right.size() && std::memcmp(left.data(), right.data(), left.size()) == 0;
}

TEST_CASE_METHOD(Fixture, "where a file has data and where holes") {
  constexpr std::uint64_t kMiB = std::uint64_t{1} << 20;
  const std::string path = scratch.file("sparse");
  const int descriptor = open(path.c_str(), O_CREAT | O_RDWR, 0600);
  const std::array<char, 4096> block{'x'};
  REQUIRE(ftruncate(descriptor, kMiB) == 0);
  REQUIRE(pwrite(descriptor, block.data(), block.size(), kMiB / 2) == 4096);
  close(descriptor);
  auto file = open_block_file(*reactor, path, {.read_only = true, .direct = false});
  REQUIRE(file.has_value());
  CHECK((*file)->first_data(0, kMiB) == kMiB / 2);
  CHECK((*file)->first_data(0, 4096) == 4096);
  CHECK((*file)->first_data(kMiB / 2 + 512, kMiB) == kMiB / 2 + 512);
  CHECK((*file)->first_hole(kMiB / 2, kMiB) == kMiB / 2 + 4096);
  CHECK((*file)->first_data(kMiB / 2 + 4096, kMiB) == kMiB);
}

// The ring registers the area of aligned buffers on the way, and knows the files by other numbers.
TEST_CASE_METHOD(Fixture, "thousands of transfers go to their file and their place") {
  constexpr std::uint64_t kBlocks = 64;
  auto left = create("left", kBlocks << 12);
  auto right = create("right", kBlocks << 12);
  std::mt19937 random(3);
  std::array<std::array<std::uint32_t, kBlocks>, 2> written{};
  for (std::uint32_t i = 1; i <= 3000; ++i) {
    // A file that is closed gives its number to the next one.
    if (i % 500 == 0) {
      right.reset();
      right = create("right" + std::to_string(i), kBlocks << 12);
      written[1] = {};
    }
    const std::size_t side = random() % 2;
    BlockFile& file = side == 0 ? *left : *right;
    const std::uint64_t block = random() % kBlocks;
    AlignedBuffer buffer(4096);
    if (random() % 2 == 0) {
      std::memset(buffer.data(), 0, 4096);
      std::memcpy(buffer.data() + 100, &i, sizeof i);
      REQUIRE(write(file, block << 12, buffer).has_value());
      written[side][block] = i;
    } else {
      REQUIRE(read(file, block << 12, buffer).has_value());
      std::uint32_t found = 0;
      std::memcpy(&found, buffer.data() + 100, sizeof found);
      REQUIRE(found == written[side][block]);
    }
  }
}

TEST_CASE_METHOD(Fixture, "blocks come back as they were written, through O_DIRECT and past the cache") {
  auto file = create("pool", 1 << 20);
  CHECK(file->size_bytes() == 1 << 20);
  const AlignedBuffer out = filled(64 << 10, 1);
  REQUIRE(write(*file, 128 << 10, out).has_value());
  AlignedBuffer in(64 << 10);
  REQUIRE(read(*file, 128 << 10, in).has_value());
  CHECK(equal(in, out));
  REQUIRE(read(*file, 0, in).has_value());
  AlignedBuffer zeroes(64 << 10);
  std::memset(zeroes.data(), 0, zeroes.size());
  CHECK(equal(in, zeroes));
  file.reset();
  auto again = open_block_file(*reactor, scratch.file("pool"), {});
  REQUIRE(again.has_value());
  CHECK((*again)->size_bytes() == 1 << 20);
  REQUIRE(read(**again, 128 << 10, in).has_value());
  CHECK(equal(in, out));
}

TEST_CASE_METHOD(Fixture, "the descriptor carries O_DIRECT and is closed on exec") {
  auto file = create("pool", 1 << 20);
  int found = 0;
  for (int descriptor = 0; descriptor < 256; ++descriptor) {
    char path[4096];
    const std::string link = "/proc/self/fd/" + std::to_string(descriptor);
    const ssize_t length = readlink(link.c_str(), path, sizeof path);
    if (length < 0 || std::string(path, static_cast<std::size_t>(length)) != file->path()) continue;
    ++found;
    CHECK((fcntl(descriptor, F_GETFL) & O_DIRECT) != 0);
    CHECK((fcntl(descriptor, F_GETFD) & FD_CLOEXEC) != 0);
  }
  CHECK(found == 1);
}

TEST_CASE_METHOD(Fixture, "a read that ends behind the file's end fails with EIO") {
  auto file = create("pool", 64 << 10);
  AlignedBuffer in(32 << 10);
  auto beyond = read(*file, 64 << 10, in);
  REQUIRE_FALSE(beyond.has_value());
  CHECK(beyond.error().errno_value == EIO);
  auto across = read(*file, 48 << 10, in);
  REQUIRE_FALSE(across.has_value());
  CHECK(across.error().kind == ErrorKind::kIo);
  CHECK(across.error().errno_value == EIO);
}

TEST_CASE_METHOD(Fixture, "a file cut short in the middle of a block fails the read of that block") {
  auto file = create("pool", 64 << 10);
  REQUIRE(truncate(file->path().c_str(), (32 << 10) + 512) == 0);
  AlignedBuffer in(16 << 10);
  CHECK(read(*file, 16 << 10, in).has_value());
  auto cut = read(*file, 24 << 10, in);
  REQUIRE_FALSE(cut.has_value());
  CHECK(cut.error().kind == ErrorKind::kIo);
}

Task<int> random_parallel_io(BlockFile& file, std::uint64_t blocks, std::uint32_t seed, bool check) {
  std::vector<AlignedBuffer> buffers;
  std::vector<IoRequest> requests(blocks);
  Latch latch(static_cast<std::uint32_t>(blocks));
  for (std::uint64_t block = 0; block < blocks; ++block) {
    buffers.push_back(check ? AlignedBuffer(kBlockBytes)
                            : filled(kBlockBytes, seed + static_cast<std::uint32_t>(block)));
    IoRequest& request = requests[block];
    request.kind = check ? IoRequest::Kind::kRead : IoRequest::Kind::kWrite;
    request.offset_bytes = block * kBlockBytes;
    request.memory = buffers[block].data();
    request.length_bytes = kBlockBytes;
    request.latch = &latch;
  }
  for (IoRequest& request : requests) file.submit(request);
  co_await latch;
  int wrong = 0;
  for (std::uint64_t block = 0; block < blocks; ++block) {
    if (requests[block].error != 0) ++wrong;
    if (check && !equal(buffers[block], filled(kBlockBytes, seed + static_cast<std::uint32_t>(block))))
      ++wrong;
  }
  co_return wrong;
}

TEST_CASE_METHOD(Fixture, "two thousand requests in flight at once") {
  auto file = create("pool", 2000 * kBlockBytes);
  CHECK(reactor->run(random_parallel_io(*file, 2000, 7, false)) == 0);
  CHECK(reactor->run(random_parallel_io(*file, 2000, 7, true)) == 0);
}

TEST_CASE_METHOD(Fixture, "zeroed blocks read as zeroes and keep their space") {
  auto file = create("pool", 1 << 20);
  REQUIRE(write(*file, 0, filled(1 << 20, 3)).has_value());
  REQUIRE(reactor->run(sync_file(*file)).has_value());
  REQUIRE(reactor->run(zero_blocks(*file, 256 << 10, 512 << 10)).has_value());
  AlignedBuffer in(1 << 20);
  REQUIRE(read(*file, 0, in).has_value());
  const AlignedBuffer before = filled(1 << 20, 3);
  const auto is_zero = [](std::byte byte) { return byte == std::byte{0}; };
  CHECK(std::ranges::all_of(in.span().subspan(256 << 10, 512 << 10), is_zero));
  CHECK(std::memcmp(in.data(), before.data(), 256 << 10) == 0);
  CHECK(std::memcmp(in.data() + (768 << 10), before.data() + (768 << 10), 256 << 10) == 0);
  struct stat status{};
  REQUIRE(stat(file->path().c_str(), &status) == 0);
  CHECK(status.st_blocks * 512 >= 1 << 20);
}

TEST_CASE_METHOD(Fixture, "extending reserves the space and never shrinks") {
  auto file = create("pool", 3 << 20);
  struct stat status{};
  REQUIRE(stat(file->path().c_str(), &status) == 0);
  CHECK(status.st_size == 3 << 20);
  CHECK(status.st_blocks * 512 >= 3 << 20);
  REQUIRE(file->extend(1 << 20).has_value());
  CHECK(file->size_bytes() == 3 << 20);
}

TEST_CASE_METHOD(Fixture, "extending past what the file system has fails and leaves the file as it was") {
  auto file = create("pool", 1 << 20);
  auto extended = file->extend(std::uint64_t{1} << 50);
  REQUIRE_FALSE(extended.has_value());
  CHECK(extended.error().kind == ErrorKind::kNoSpace);
  struct stat status{};
  REQUIRE(stat(file->path().c_str(), &status) == 0);
  CHECK(status.st_size == 1 << 20);
  CHECK(file->size_bytes() == 1 << 20);
}

Task<void> sync_and_note(BlockFile& file, bool& ok, Latch& latch) {
  auto synced = co_await sync_file(file);
  ok = synced.has_value();
  latch.arrive();
}

// A second flush must not return before the first one's sync, which may be what covers its writes.
Task<bool> needs_sync_while_in_flight(BlockFile& file) {
  AlignedBuffer block = filled(kBlockBytes, 1);
  auto written = co_await write_blocks(file, 0, block.span());
  if (!written || !file.needs_sync()) co_return false;
  bool ok = false;
  Latch latch(1);
  spawn(sync_and_note(file, ok, latch));
  if (!file.needs_sync()) co_return false;
  co_await latch;
  co_return ok && !file.needs_sync();
}

TEST_CASE_METHOD(Fixture, "a sync is needed from a write on until a sync behind it has completed") {
  auto file = create("pool", 1 << 20);
  REQUIRE(reactor->run(sync_file(*file)).has_value());  // the extension's
  CHECK_FALSE(file->needs_sync());
  CHECK(reactor->run(needs_sync_while_in_flight(*file)));
  REQUIRE(reactor->run(zero_blocks(*file, 0, kBlockBytes)).has_value());
  CHECK(file->needs_sync());
  REQUIRE(reactor->run(sync_file(*file)).has_value());
  CHECK_FALSE(file->needs_sync());
}

TEST_CASE_METHOD(Fixture, "writing through a read-only descriptor fails") {
  create("pool", 1 << 20).reset();
  auto file = open_block_file(*reactor, scratch.file("pool"), {.read_only = true});
  REQUIRE(file.has_value());
  auto written = write(**file, 0, filled(kBlockBytes, 1));
  REQUIRE_FALSE(written.has_value());
  CHECK(written.error().errno_value == EBADF);
}

TEST_CASE_METHOD(Fixture, "opening says what is wrong") {
  auto missing = open_block_file(*reactor, scratch.file("none"), {});
  REQUIRE_FALSE(missing.has_value());
  CHECK(missing.error().kind == ErrorKind::kNotFound);
  create("pool", 1 << 20).reset();
  auto twice = open_block_file(*reactor, scratch.file("pool"), {.create = true});
  REQUIRE_FALSE(twice.has_value());
  CHECK(twice.error().kind == ErrorKind::kExists);
}

TEST_CASE_METHOD(Fixture,
                 "the lock keeps out another opening, also of the same process, until it is closed") {
  auto first = create("pool", 1 << 20);
  CHECK(first->try_lock().value() == true);
  CHECK(first->try_lock().value() == true);  // its own lock is no obstacle
  auto second = open_block_file(*reactor, scratch.file("pool"), {});
  REQUIRE(second.has_value());
  CHECK((*second)->try_lock().value() == false);
  first.reset();
  CHECK((*second)->try_lock().value() == true);
}

TEST_CASE_METHOD(Fixture, "opening and closing the file again does not lose the lock") {
  auto first = create("pool", 1 << 20);
  REQUIRE(first->try_lock().value() == true);
  close(open(first->path().c_str(), O_RDWR | O_CLOEXEC));  // what would drop a POSIX lock
  auto second = open_block_file(*reactor, scratch.file("pool"), {});
  REQUIRE(second.has_value());
  CHECK((*second)->try_lock().value() == false);
}

TEST_CASE_METHOD(Fixture, "the lock of a killed process is free once it is gone") {
  create("pool", 1 << 20).reset();
  int ready[2];
  REQUIRE(pipe2(ready, O_CLOEXEC) == 0);
  const pid_t child = fork();
  REQUIRE(child >= 0);
  if (child == 0) {  // no Catch2 in here
    auto own = Reactor::create();
    if (!own) _exit(1);
    auto file = open_block_file(**own, scratch.file("pool"), {});
    const bool locked = file && (*file)->try_lock().value_or(false);
    const char answer = locked ? 'y' : 'n';
    if (::write(ready[1], &answer, 1) != 1) _exit(1);
    pause();
    _exit(0);
  }
  close(ready[1]);  // so that a child that died ends the read
  char answer = 0;
  REQUIRE(::read(ready[0], &answer, 1) == 1);
  CHECK(answer == 'y');
  auto file = open_block_file(*reactor, scratch.file("pool"), {});
  REQUIRE(file.has_value());
  CHECK((*file)->try_lock().value() == false);
  kill(child, SIGKILL);
  REQUIRE(waitpid(child, nullptr, 0) == child);
  bool locked = false;
  for (int i = 0; i < 200 && !locked; ++i) {
    locked = (*file)->try_lock().value_or(false);
    if (!locked) usleep(10'000);
  }
  CHECK(locked);
  close(ready[0]);
}

}  // namespace
}  // namespace coppice
