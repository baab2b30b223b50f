// The names of the engine's mutations (base/mutation.h).
#pragma once

#include <span>
#include <string_view>

#include "base/mutation.h"

namespace coppice::sim {

struct NamedMutation {
  Mutation mutation;
  std::string_view name;
  std::string_view options = "";  // with which it is caught in few seeds
};
std::span<const NamedMutation> all_mutations();

}  // namespace coppice::sim
