// A slab's header, and its pages.
#include "layout/slab.h"

#include "fuzz.h"
#include "samples.h"

namespace coppice::fuzz {
namespace {

void check_header(Bytes block) {
  const auto header = decode_slab_header(std::span<const std::byte, kBlockBytes>(block));
  if (!header) return;
  const SlabLayout layout{header->slab_blocks};
  demand(layout.first_data_block() < header->slab_blocks, "a slab that was taken holds data");
  Bytes again(kBlockBytes);
  encode_slab_header(*header, std::span<std::byte, kBlockBytes>(again));
  const auto second = decode_slab_header(std::span<const std::byte, kBlockBytes>(again));
  demand(second.has_value() && *second == *header, "a header that was taken is taken again");
}

void check_page(Bytes page, std::uint64_t sequence) {
  const PhysicalBlock here = PhysicalBlock::of(1, 17);
  const std::span<std::byte, kBlockBytes> bytes(page);
  static_cast<void>(verify_page(bytes, here));
  seal_page(bytes, sequence, here);
  demand(verify_page(bytes, here) == sequence, "a sealed page verifies");
  demand(!verify_page(bytes, here.next()), "a page that was misdirected is found");
}

}  // namespace

void run_one(Input input) {
  const std::uint64_t sequence = take_byte(input);
  Bytes block = in_block(input, kBlockBytes);
  check_header(block);
  layout_test::reseal(block);
  check_header(block);
  check_page(std::move(block), sequence + 1);
}

}  // namespace coppice::fuzz
