// The names of the engine's mutations (base/mutation.h), and what the simulator needs to see each of them.
#pragma once

#include <span>
#include <string_view>

#include "base/mutation.h"

namespace coppice::sim {

struct NamedMutation {
  Mutation mutation;
  std::string_view name;
  // Nothing depends on the rule while batches are written behind their data (the conservative order): records
  // are durable only with all that came before them. It is kept for the fast order, and not caught yet.
  bool spare = false;
};
std::span<const NamedMutation> all_mutations();

}  // namespace coppice::sim
