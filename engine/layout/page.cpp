#include "layout/page.h"

#include <cassert>

#include "layout/wire_struct.h"

namespace coppice {

namespace {

struct PageHeader {
  std::uint64_t sequence = 0;
  std::uint64_t hash = 0;
};
static_assert(WireStruct<PageHeader> && sizeof(PageHeader) == kPageHeaderBytes);

// The hash field stands between the sequence and the content; so the content's hash is hashed again together
// with the sequence rather than copying 4 KiB to make them adjacent.
std::uint64_t page_hash(std::uint64_t sequence, ConstPageBytes page, PhysicalBlock address) {
  const PageHeader bound = {sequence, hash64(page_content(page), address.value)};
  return hash64(std::as_bytes(std::span(&bound, 1)), address.value);
}

bool all_zero(ConstPageBytes page) {
  return page[0] == std::byte{0} && std::memcmp(page.data(), page.data() + 1, page.size() - 1) == 0;
}

}  // namespace

void seal_page(PageBytes page, std::uint64_t sequence, PhysicalBlock address) {
  assert(sequence > 0);
  store_struct(PageHeader{sequence, page_hash(sequence, page, address)}, page);
}

std::optional<std::uint64_t> verify_page(ConstPageBytes page, PhysicalBlock address) {
  const auto header = load_struct<PageHeader>(page);
  if (header.sequence == 0) return all_zero(page) ? std::optional<std::uint64_t>(0) : std::nullopt;
  if (header.hash != page_hash(header.sequence, page, address)) return std::nullopt;
  return header.sequence;
}

}  // namespace coppice
