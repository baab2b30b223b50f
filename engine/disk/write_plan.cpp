#include "disk/write_plan.h"

#include "base/mutation.h"

namespace coppice {

namespace {

// The stretch of `run` from its start that is alike in being proven or not.
unsigned alike(const Parts& parts, const LeafRun& run, unsigned count, bool unproven) {
  unsigned length = 1;
  while (length < count && parts.allocator.unproven(run.physical.next(length)) == unproven) ++length;
  return length;
}

void append(std::pmr::vector<WritePiece>& pieces, std::uint64_t offset, PhysicalRun run, bool in_place) {
  if (!pieces.empty()) {
    WritePiece& last = pieces.back();
    const bool continues = in_place ? last.run.first.next(last.run.count) == run.first : true;
    if (last.in_place == in_place && continues) {
      last.run.count += run.count;
      return;
    }
  }
  WritePiece piece;
  piece.offset_blocks = offset;
  piece.run = run;
  piece.in_place = in_place;
  pieces.push_back(piece);
}

}  // namespace

std::uint64_t WritePlan::classify(Parts& parts, LeafPins& leaves) {
  std::uint64_t redirected = 0;
  pieces.clear();
  if (strict && !mutated(Mutation::kStrictIgnored)) {
    append(pieces, 0, {PhysicalBlock{0}, count}, false);
    return count;
  }
  for_each_leaf(first, count, [&](LeafIndex leaf, unsigned from, unsigned part, std::uint64_t offset) {
    const Leaf& map = leaves.at(leaf).leaf;
    for (unsigned done = 0; done < part;) {
      const LeafRun run = map.run_at(from + done);
      unsigned length = std::min<unsigned>(run.count, part - done);
      const bool owned =
          run.kind == LeafRun::Kind::kData && (run.birth == epoch || mutated(Mutation::kInPlaceOlderBirth));
      const bool proves = !mutated(Mutation::kInPlaceUnproven);
      const bool unproven = owned && proves && parts.allocator.unproven(run.physical);
      if (owned && proves) length = alike(parts, run, length, unproven);
      const bool in_place = owned && !unproven;
      append(pieces, offset + done, {in_place ? run.physical : PhysicalBlock{0}, length}, in_place);
      if (!in_place) redirected += length;
      done += length;
    }
  });
  return redirected;
}

void WritePlan::assign(const std::vector<PhysicalRun>& runs) {
  std::pmr::vector<WritePiece> assigned(pieces.get_allocator());
  assigned.reserve(pieces.size() + runs.size());
  std::size_t next = 0;
  PhysicalRun left = runs.empty() ? PhysicalRun{} : runs[0];
  for (const WritePiece& piece : pieces) {
    if (piece.in_place) {
      assigned.push_back(piece);
      continue;
    }
    for (std::uint64_t done = 0; done < piece.run.count;) {
      if (left.count == 0) left = runs[++next];
      const std::uint64_t length = std::min(left.count, piece.run.count - done);
      WritePiece part;
      part.offset_blocks = piece.offset_blocks + done;
      part.run = {left.first, length};
      assigned.push_back(part);
      left = {left.first.next(length), left.count - length};
      done += length;
    }
  }
  pieces.swap(assigned);
}

PhysicalBlock WritePlan::goal(LeafPins& leaves) const {
  for (const WritePiece& piece : pieces) {
    if (piece.in_place) continue;
    const BlockIndex block = first.next(piece.offset_blocks);
    const unsigned index = index_in_leaf(block);
    const bool known = index > 0 && block.value > 0;
    if (!known) return PhysicalBlock{0};
    const LeafRun before = leaves.at(leaf_of(block)).leaf.run_at(index - 1);
    if (before.kind != LeafRun::Kind::kData) return PhysicalBlock{0};
    return before.physical.next();
  }
  return PhysicalBlock{0};
}

}  // namespace coppice
