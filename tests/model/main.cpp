// The model test: random operations from a seed, through the public interface, against what must be true.
//
//   model_test [--seed N] [--seeds COUNT] [--steps COUNT] [--verify-every COUNT] [--crash-every COUNT]
//              [--trace 1] [--mutation NAME]
//
// With --crash-every the store is on the simulator's machine, and one of so many steps ends in a kill or a
// power cut, within it or behind it; without, it is in a directory, on io_uring and RocksDB, as with users.
// Without --seed: seeds 1 … COPPICE_MODEL_SEEDS (8), each COPPICE_MODEL_STEPS (400) steps. A failing seed is
// printed with its last operations; --seed N plays it again.
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <memory>
#include <string>

#include "keep_memory.h"
#include "mutations.h"
#include "world.h"

namespace {

using coppice::test::Host;
using coppice::test::Mismatch;
using coppice::test::World;

struct Budget {
  std::uint64_t first_seed = 1;
  std::uint64_t seeds = 8;
  std::uint64_t steps = 400;
  std::uint64_t verify_every = 100;
  std::uint64_t crash_every = 0;
  bool trace = false;
  std::string mutation;
};

std::uint64_t from_environment(const char* name, std::uint64_t otherwise) {
  const char* text = std::getenv(name);
  return text == nullptr ? otherwise : std::strtoull(text, nullptr, 10);
}

[[noreturn]] void give_up(const World* world, const Mismatch& mismatch, std::uint64_t seed,
                          std::uint64_t step, const Budget& budget) {
  std::printf("FAILED: seed %llu, step %llu: %s\nthe last operations:\n",
              static_cast<unsigned long long>(seed), static_cast<unsigned long long>(step), mismatch.what());
  if (world != nullptr)
    for (const std::string& line : world->history()) std::printf("  %s\n", line.c_str());
  std::printf("again: model_test --seed %llu --steps %llu --verify-every %llu --crash-every %llu%s%s\n",
              static_cast<unsigned long long>(seed), static_cast<unsigned long long>(budget.steps),
              static_cast<unsigned long long>(budget.verify_every),
              static_cast<unsigned long long>(budget.crash_every),
              budget.mutation.empty() ? "" : " --mutation ", budget.mutation.c_str());
  std::fflush(stdout);
  // The store is not to be trusted any more, not even to close itself.
  std::_Exit(1);
}

// Answers how often it died. Without a reactor: on the simulator's machine.
std::uint64_t play(coppice::Reactor* reactor, std::uint64_t seed, const Budget& budget) {
  const auto directory = std::filesystem::current_path() / ("model-store-" + std::to_string(seed));
  std::unique_ptr<Host> host;
  std::unique_ptr<World> world;
  std::uint64_t step = 0;
  try {
    host = reactor == nullptr ? coppice::test::make_machine_host(seed)
                              : coppice::test::make_file_host(*reactor, directory.string());
    world = std::make_unique<World>(*host, seed, budget.crash_every, directory.string() + ".dump");
    world->trace = budget.trace;
    while (step < budget.steps) {
      ++step;
      world->step();
      if (step % budget.verify_every == 0) world->verify_all();
    }
    world->verify_all();
    world->shut_down();
  } catch (const Mismatch& mismatch) {
    give_up(world.get(), mismatch, seed, step, budget);
  }
  return host->lives();
}

// What died is left behind, as a process's memory is: it goes with a process of its own.
std::uint64_t play_apart(std::uint64_t seed, const Budget& budget) {
  void* memory =
      mmap(nullptr, sizeof(std::uint64_t), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
  if (memory == MAP_FAILED) std::abort();
  auto* crashes = new (memory) std::uint64_t(0);
  std::fflush(nullptr);
  const pid_t child = ::fork();
  if (child < 0) std::abort();
  if (child == 0) {
    *crashes = play(nullptr, seed, budget);
    ::_exit(0);
  }
  int status = 0;
  ::waitpid(child, &status, 0);
  if (WIFSIGNALED(status))
    std::printf("FAILED: seed %llu: the engine died of signal %d\n", static_cast<unsigned long long>(seed),
                WTERMSIG(status));
  if (status != 0) std::exit(1);
  const std::uint64_t died = *crashes;
  munmap(memory, sizeof(std::uint64_t));
  return died;
}

bool mutate(const std::string& name) {
#ifdef COPPICE_MUTATIONS
  for (const coppice::sim::NamedMutation& each : coppice::sim::all_mutations()) {
    if (each.name == name) coppice::active_mutation = each.mutation;
  }
  return coppice::active_mutation != coppice::Mutation::kNone;
#else
  (void)name;
  return false;
#endif
}

}  // namespace

int main(int argc, char** argv) {
  Budget budget;
  budget.seeds = from_environment("COPPICE_MODEL_SEEDS", budget.seeds);
  budget.steps = from_environment("COPPICE_MODEL_STEPS", budget.steps);
  for (int i = 1; i + 1 < argc; i += 2) {
    const std::string name = argv[i];
    const std::uint64_t value = std::strtoull(argv[i + 1], nullptr, 10);
    if (name == "--seed") {
      budget.first_seed = value;
      budget.seeds = 1;
    } else if (name == "--seeds") {
      budget.seeds = value;
    } else if (name == "--steps") {
      budget.steps = value;
    } else if (name == "--verify-every") {
      budget.verify_every = value;
    } else if (name == "--crash-every") {
      budget.crash_every = value;
    } else if (name == "--mutation") {
      budget.mutation = argv[i + 1];
      if (mutate(budget.mutation)) continue;
      std::fprintf(stderr, "model_test: this build has no mutation %s\n", argv[i + 1]);
      return 2;
    } else if (name == "--trace") {
      budget.trace = value != 0;
    } else {
      std::fprintf(stderr, "model_test: %s is not known\n", name.c_str());
      return 2;
    }
  }
  std::uint64_t crashes = 0;
  if (budget.crash_every != 0) {
    coppice::sim::keep_memory();
    for (std::uint64_t seed = budget.first_seed; seed < budget.first_seed + budget.seeds; ++seed)
      crashes += play_apart(seed, budget);
  } else {
    auto reactor = coppice::Reactor::create();
    if (!reactor) {
      std::fprintf(stderr, "model_test: %s\n", reactor.error().text);
      return 2;
    }
    for (std::uint64_t seed = budget.first_seed; seed < budget.first_seed + budget.seeds; ++seed)
      play(reactor->get(), seed, budget);
  }
  std::printf("model: %llu seeds, %llu steps each, %llu crashes, no mismatch\n",
              static_cast<unsigned long long>(budget.seeds), static_cast<unsigned long long>(budget.steps),
              static_cast<unsigned long long>(crashes));
  return 0;
}
