#include "pool/slab_front.h"

#include <cstring>
#include <vector>

#include "coppice/aligned_buffer.h"
#include "layout/page.h"
#include "pool/pool.h"
#include "pool/superblocks.h"

namespace coppice {

void seal_empty_bitmaps(SlabLayout layout, PhysicalBlock slab_start, std::span<std::byte> front) {
  for (std::uint64_t page = 0; page < layout.bitmap_pages(); ++page) {
    const std::uint64_t block = layout.bitmap_page(page);
    for (std::uint64_t copy = 0; copy < 2; ++copy) {
      seal_page(front.subspan((block + copy) * kBlockBytes).first<kBlockBytes>(), 1 + copy,
                slab_start.next(block + copy));
    }
  }
}

Task<Result<>> Pool::write_slab_header(std::uint64_t member, std::uint64_t slab) {
  const Superblock& superblock = members_[member].superblock;
  AlignedBuffer image(kBlockBytes);
  std::memset(image.data(), 0, kBlockBytes);
  encode_slab_header({superblock.store, static_cast<std::uint32_t>(member), slab, superblock.slab_blocks},
                     image.first(kBlockBytes).first<kBlockBytes>());
  BlockFile& header_file = file(member);
  const std::uint64_t offset_bytes = slab_start(member, slab).offset_bytes();
  auto written = co_await write_blocks(header_file, offset_bytes, image.span());
  if (!written) co_return written;
  std::vector<BlockFile*> files{&header_file};
  auto synced = co_await sync_files(std::move(files));
  co_return synced;
}

}  // namespace coppice
