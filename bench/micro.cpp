// Single operations at queue depth 1, through the public interface, beside the raw file system they end on.
//
//   coppice_micro [--benchmark_filter=…]      works in $TMPDIR, else /var/tmp (O_DIRECT is needed)
//
// These are for seeing what a change does to the cost of one operation; machines are noisy, so compare rows
// of one run. Depth, peers and ratios are another benchmark's matter.
#include <benchmark/benchmark.h>
#include <fcntl.h>
#include <unistd.h>

#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <random>
#include <string>

#include "coppice/aligned_buffer.h"
#include "coppice/reactor.h"
#include "coppice/store.h"

namespace {

using namespace coppice;

constexpr std::uint64_t kDiskBytes = std::uint64_t{256} << 20;

template <class T>
T must(Outcome<T> outcome) {
  if (!outcome) {
    std::fprintf(stderr, "coppice_micro: %s\n", outcome.error().message.c_str());
    std::exit(2);
  }
  if constexpr (!std::is_void_v<T>) return std::move(*outcome);
}

std::string scratch_directory() {
  const char* base = std::getenv("TMPDIR");
  std::string path = std::string(base == nullptr ? "/var/tmp" : base) + "/coppice-micro.XXXXXX";
  if (mkdtemp(path.data()) == nullptr) {
    std::perror("coppice_micro: no scratch directory");
    std::exit(2);
  }
  return path;
}

// One store with one written disk, for all benchmarks of a run.
class Bench {
 public:
  Bench() : directory_(scratch_directory()) {
    auto reactor = Reactor::create();
    if (!reactor) {
      std::fprintf(stderr, "coppice_micro: %s\n", reactor.error().text);
      std::exit(2);
    }
    reactor_ = std::move(*reactor);
    must(reactor_->run(init_store(*reactor_, {directory_ + "/store", {}}, {})));
    OpenOptions options;
    options.directory = directory_ + "/store";
    store_ = must(reactor_->run(open_store(*reactor_, options)));
    must(reactor_->run(store_->create_disk("disk", kDiskBytes)));
    device_ = must(reactor_->run(store_->open_device({"disk", ""}, Access::kReadWrite, {"benchmark"})));
    AlignedBuffer chunk(1 << 20);
    std::memset(chunk.data(), 0x5a, chunk.size());
    raw_ = open((directory_ + "/raw").c_str(), O_RDWR | O_CREAT | O_DIRECT | O_CLOEXEC, 0600);
    for (std::uint64_t at = 0; at < kDiskBytes; at += chunk.size()) {
      check(reactor_->run(device_->write(at, chunk.span(), {})).has_value());
      check(pwrite(raw_, chunk.data(), chunk.size(), static_cast<off_t>(at)) > 0);
    }
    check(reactor_->run(device_->flush()).has_value());
  }
  ~Bench() {
    device_.reset();
    must(reactor_->run(store_->close()));
    store_.reset();
    close(raw_);
    std::filesystem::remove_all(directory_);
  }
  Bench(const Bench&) = delete;
  Bench& operator=(const Bench&) = delete;

  static void check(bool ok) {
    if (ok) return;
    std::fprintf(stderr, "coppice_micro: an operation failed\n");
    std::exit(2);
  }
  std::uint64_t next_offset() { return random_() % (kDiskBytes / kBlockBytes) * kBlockBytes; }
  Reactor& reactor() { return *reactor_; }
  Store& store() { return *store_; }
  BlockDevice& device() { return *device_; }
  [[nodiscard]] int raw() const { return raw_; }
  [[nodiscard]] std::span<std::byte> block() const { return block_.span(); }

 private:
  std::string directory_;
  std::unique_ptr<Reactor> reactor_;
  std::unique_ptr<Store> store_;
  std::unique_ptr<BlockDevice> device_;
  int raw_ = -1;
  AlignedBuffer block_{kBlockBytes};
  std::mt19937_64 random_{1};
};

Bench* bench = nullptr;

void raw_write(benchmark::State& state) {
  for (auto each : state) {
    Bench::check(pwrite(bench->raw(), bench->block().data(), kBlockBytes,
                        static_cast<off_t>(bench->next_offset())) == kBlockBytes);
  }
}
void coppice_write(benchmark::State& state) {
  for (auto each : state) {
    Bench::check(
        bench->reactor().run(bench->device().write(bench->next_offset(), bench->block(), {})).has_value());
  }
}
void raw_read(benchmark::State& state) {
  for (auto each : state) {
    Bench::check(pread(bench->raw(), bench->block().data(), kBlockBytes,
                       static_cast<off_t>(bench->next_offset())) == kBlockBytes);
  }
}
void coppice_read(benchmark::State& state) {
  for (auto each : state) {
    Bench::check(
        bench->reactor().run(bench->device().read(bench->next_offset(), bench->block())).has_value());
  }
}
void raw_write_sync(benchmark::State& state) {
  for (auto each : state) {
    Bench::check(pwrite(bench->raw(), bench->block().data(), kBlockBytes,
                        static_cast<off_t>(bench->next_offset())) == kBlockBytes);
    Bench::check(fdatasync(bench->raw()) == 0);
  }
}
void coppice_write_flush(benchmark::State& state) {
  for (auto each : state) {
    Bench::check(
        bench->reactor().run(bench->device().write(bench->next_offset(), bench->block(), {})).has_value());
    Bench::check(bench->reactor().run(bench->device().flush()).has_value());
  }
}
void coppice_snapshot(benchmark::State& state) {
  static std::uint64_t number = 0;
  for (auto each : state) {
    must(bench->reactor().run(bench->store().snapshot({{"disk", "s" + std::to_string(number++)}}, {})));
  }
}

}  // namespace

BENCHMARK(raw_read)->UseRealTime()->Unit(benchmark::kMicrosecond);
BENCHMARK(coppice_read)->UseRealTime()->Unit(benchmark::kMicrosecond);
BENCHMARK(raw_write)->UseRealTime()->Unit(benchmark::kMicrosecond);
BENCHMARK(coppice_write)->UseRealTime()->Unit(benchmark::kMicrosecond);
BENCHMARK(raw_write_sync)->UseRealTime()->Unit(benchmark::kMicrosecond);
BENCHMARK(coppice_write_flush)->UseRealTime()->Unit(benchmark::kMicrosecond);
BENCHMARK(coppice_snapshot)->UseRealTime()->Unit(benchmark::kMicrosecond)->Iterations(200);

int main(int argc, char** argv) {
  benchmark::Initialize(&argc, argv);
  if (benchmark::ReportUnrecognizedArguments(argc, argv)) return 2;
  Bench all;
  bench = &all;
  benchmark::RunSpecifiedBenchmarks();
  return 0;
}
