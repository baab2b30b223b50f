// A member's superblock, as it stands on the device and with its hash made right.
#include "layout/superblock.h"

#include "fuzz.h"
#include "samples.h"

namespace coppice::fuzz {
namespace {

void check(Bytes block) {
  const auto superblock = decode_superblock(std::span<const std::byte, kBlockBytes>(block));
  if (!superblock) return;
  Bytes again(kBlockBytes);
  encode_superblock(*superblock, std::span<std::byte, kBlockBytes>(again));
  const auto second = decode_superblock(std::span<const std::byte, kBlockBytes>(again));
  demand(second.has_value() && *second == *superblock, "a superblock that was taken is taken again");
}

}  // namespace

void run_one(Input input) {
  Bytes block = in_block(input, kBlockBytes);
  check(block);
  layout_test::reseal(block);
  check(std::move(block));
}

}  // namespace coppice::fuzz
