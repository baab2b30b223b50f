// The model test: random operations from a seed, through the public interface, against what must be true.
//
//   model_test [--seed N] [--seeds COUNT] [--steps COUNT] [--verify-every COUNT] [--trace 1]
//
// Without --seed: seeds 1 … COPPICE_MODEL_SEEDS (8), each COPPICE_MODEL_STEPS (400) steps. A failing seed is
// printed with its last operations; --seed N plays it again.
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <string>

#include "world.h"

namespace {

using coppice::test::Mismatch;
using coppice::test::World;

struct Budget {
  std::uint64_t first_seed = 1;
  std::uint64_t seeds = 8;
  std::uint64_t steps = 400;
  std::uint64_t verify_every = 100;
  bool trace = false;
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
  std::printf("again: model_test --seed %llu --steps %llu --verify-every %llu\n",
              static_cast<unsigned long long>(seed), static_cast<unsigned long long>(budget.steps),
              static_cast<unsigned long long>(budget.verify_every));
  std::fflush(stdout);
  // The store is not to be trusted any more, not even to close itself.
  std::_Exit(1);
}

void play(coppice::Reactor& reactor, std::uint64_t seed, const Budget& budget) {
  const auto directory = std::filesystem::current_path() / ("model-store-" + std::to_string(seed));
  std::filesystem::remove_all(directory);
  std::unique_ptr<World> world;
  std::uint64_t step = 0;
  try {
    world = std::make_unique<World>(reactor, directory.string(), seed);
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
  std::filesystem::remove_all(directory);
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
    } else if (name == "--trace") {
      budget.trace = value != 0;
    } else {
      std::fprintf(stderr, "model_test: %s is not known\n", name.c_str());
      return 2;
    }
  }
  auto reactor = coppice::Reactor::create();
  if (!reactor) {
    std::fprintf(stderr, "model_test: %s\n", reactor.error().text);
    return 2;
  }
  for (std::uint64_t seed = budget.first_seed; seed < budget.first_seed + budget.seeds; ++seed) {
    play(**reactor, seed, budget);
  }
  std::printf("model: %llu seeds, %llu steps each, no mismatch\n",
              static_cast<unsigned long long>(budget.seeds), static_cast<unsigned long long>(budget.steps));
  return 0;
}
