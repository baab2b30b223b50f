// How long a store takes to open after a kill. A child process writes, in a store of its own, until the first
// checkpoint begins: the journal is as full as it gets. Then it is killed, and the store opened here.
#include <fcntl.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <filesystem>
#include <thread>

#include "overhead/figures.h"
#include "overhead/pairs.h"

namespace coppice::bench {

namespace {

constexpr double kSecondsPerRing = 5.0;
constexpr double kRingBytes = 256.0 * 1024 * 1024;
// Of a pool file that grows by itself.
constexpr double kJournalBytes = 64.0 * 1024 * 1024;
constexpr unsigned kRounds = 5;
constexpr auto kPatience = std::chrono::seconds(60);
constexpr auto kSettled = std::chrono::milliseconds(300);

pid_t start_child(const std::string& store) {
  std::string program = "/proc/self/exe";
  std::string option = "--crash-child";
  std::string directory = store;
  const pid_t child = fork();
  if (child < 0) throw Unmeasurable("no child process can be made");
  if (child != 0) return child;
  char* arguments[] = {program.data(), option.data(), directory.data(), nullptr};
  execv(program.c_str(), arguments);
  _exit(127);
}

// Waits for the map's log to grow after the child has begun to write, then kills the child.
void kill_in_checkpoint(EngineSide& engine, pid_t child) {
  const auto start = Clock::now();
  std::this_thread::sleep_for(kSettled);
  const std::uint64_t before = engine.map_log_bytes();
  while (Clock::now() - start < kPatience && waitpid(child, nullptr, WNOHANG) == 0) {
    if (engine.map_log_bytes() != before) {
      kill(child, SIGKILL);
      waitpid(child, nullptr, 0);
      return;
    }
    std::this_thread::sleep_for(std::chrono::milliseconds(2));
  }
  kill(child, SIGKILL);
  throw Unmeasurable("the child came to no checkpoint");
}

void demand_sound(EngineSide& engine) {
  const CheckReport report = engine.must(engine.store().check(false));
  if (!report.problems.empty()) throw Unmeasurable("after the kill: " + report.problems.front());
}

}  // namespace

int crash_child(const std::string& store) {
  EngineSide engine(store, EngineSide::Existing{});
  Disk disk("disk", std::uint64_t{256} << 20);
  engine.attach(disk);
  Walk walk(disk.ledger.span_bytes(), kBlockBytes, false, 1);
  while (true) engine.run(disk, {.kind = Kind::kWrite, .depth = 128}, walk, std::chrono::seconds(1));
}

void recovery(Lab& lab) {
  EngineSide engine(lab.path("recovery"));
  engine.must(engine.store().create_disk("disk", std::uint64_t{256} << 20));
  engine.close();
  std::vector<double> ratios;
  std::vector<double> seconds;
  std::vector<double> read_bytes;
  for (unsigned i = 0; i < (lab.options().quick ? 1 : kRounds); ++i) {
    kill_in_checkpoint(engine, start_child(engine.directory()));
    const std::uint64_t before = process_io("read_bytes");
    const auto start = Clock::now();
    engine.open(kDefaultCacheBytes);
    seconds.push_back(std::chrono::duration<double>(Clock::now() - start).count());
    read_bytes.push_back(static_cast<double>(process_io("read_bytes") - before));
    ratios.push_back(kSecondsPerRing * kJournalBytes / kRingBytes / seconds.back());
    demand_sound(engine);
    engine.close();
  }
  Report report = make_report("recovery", ratios, 1.0, 1.0);
  report.unit = "s/256MiB";
  report.value = quantile(seconds, 0.5) * kRingBytes / kJournalBytes;
  report.columns["open_seconds"] = quantile(seconds, 0.5);
  report.columns["worst_open_seconds"] = quantile(seconds, 1.0);
  report.columns["read_bytes_at_open"] = quantile(read_bytes, 0.5);
  lab.report(report);
  std::filesystem::remove_all(engine.directory());
}

}  // namespace coppice::bench
