// WritePlan: how one write is carried out, piece by piece.
#pragma once

#include <memory_resource>
#include <span>
#include <vector>

#include "disk/leaf_pins.h"
#include "io/block_file.h"

namespace coppice {

struct WritePiece {
  std::uint64_t offset_blocks = 0;  // into the request
  PhysicalRun run;                  // where it goes
  bool in_place = false;
  std::uint32_t slot = Staging::kNoSlot;  // in the staging file, while in flight
  Journal::Early early;                   // where its record was staged, if that was early
  IoRequest request;
};

struct WritePlan {
  explicit WritePlan(std::pmr::memory_resource* memory) : pieces(memory) {}
  BlockIndex first;
  std::uint64_t count = 0;
  Epoch epoch;
  bool strict = false;  // nothing in place
  std::pmr::vector<WritePiece> pieces;

  // In place: born in the branch's current epoch, by this head alone, and proven, unless the disk is strict.
  // All else is redirected; those pieces have no run yet. Returns how many blocks need one.
  std::uint64_t classify(Parts& parts, LeafPins& leaves);
  // Gives the redirected pieces their runs, splitting where a run ends.
  void assign(const std::vector<PhysicalRun>& runs);
  // Where a redirected write would best go: behind what precedes it.
  [[nodiscard]] PhysicalBlock goal(LeafPins& leaves) const;
};

}  // namespace coppice
