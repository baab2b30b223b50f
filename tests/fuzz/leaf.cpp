// An encoded leaf, as the map's store holds it.
#include "layout/leaf.h"

#include <algorithm>
#include <array>

#include "fuzz.h"
#include "layout/keys.h"

namespace coppice::fuzz {

void run_one(Input input) {
  if (const auto key = decode_leaf_key(as_text(input))) {
    demand(std::string_view(encode_key(*key)) == as_text(input), "a leaf's key has one form");
  }
  if (const auto key = decode_change_key(as_text(input))) {
    demand(std::string_view(encode_key(*key)) == as_text(input), "a change's key has one form");
  }
  auto leaf = Leaf::decode(input);
  if (!leaf) return;
  unsigned covered = 0;
  for (const LeafRun& run : leaf->runs()) {
    demand(run.first >= covered && run.count != 0 && run.end() <= kLeafBlocks,
           "runs are in order, and inside");
    covered = run.end();
  }
  std::array<std::byte, Leaf::kMostEncodedBytes> room;
  demand(std::ranges::equal(leaf->encode(room), input), "a leaf that was taken is what the encoder writes");
  for (unsigned index = 0; index < kLeafBlocks; ++index) {
    demand(leaf->run_at(index).first == index, "every block has a run");
  }
  leaf->punch(0x00ff'00ff'00ff'00ff);
  leaf->zero(3, 20, Epoch{7});
  leaf->map(10, 40, PhysicalBlock::of(0, 100), Epoch{8});
  const auto changed = Leaf::decode(leaf->encode(room));
  demand(changed && *changed == *leaf, "a changed leaf survives");
}

}  // namespace coppice::fuzz
