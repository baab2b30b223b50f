#include "pool/superblocks.h"

#include <algorithm>
#include <array>
#include <optional>

#include "coppice/aligned_buffer.h"
#include "pool/requests.h"

namespace coppice {

// A new member holds generation 1 in all places, and what follows goes to places 2 and 3.
Task<Result<FoundSuperblock>> read_superblock(BlockFile& file) {
  AlignedBuffer buffer(kSuperblockOffsets.size() * kBlockBytes);
  std::optional<Superblock> newest;
  std::array<bool, kSuperblockOffsets.size()> whole{};
  Error absent{ErrorKind::kInvalid, 0, "holds no superblock"};
  for (std::size_t i = 0; i < kSuperblockOffsets.size(); ++i) {
    const std::uint64_t offset = kSuperblockOffsets[i];
    if (offset + kBlockBytes > file.size_bytes()) break;
    const auto place = buffer.first(kBlockBytes);
    auto read = co_await read_blocks(file, offset, place);
    if (!read) {
      absent = read.error();
      continue;
    }
    auto found = decode_superblock(place.first<kBlockBytes>());
    whole[i] = found.has_value();
    if (found) {
      if (!newest || found->generation > newest->generation) newest = *found;
    } else if (found.error().kind == ErrorKind::kUnsupported) {
      co_return std::unexpected(found.error());
    } else if (found.error().kind == ErrorKind::kCorrupt && absent.kind == ErrorKind::kInvalid) {
      absent = found.error();
    }
  }
  if (!newest) co_return std::unexpected(absent);
  const std::uint64_t next = next_generation(newest->generation);
  co_return FoundSuperblock{*newest, static_cast<unsigned>(std::ranges::count(whole, false)),
                            !whole[(next - 1) % whole.size()] && !whole[next % whole.size()]};
}

Task<Result<>> sync_files(std::vector<BlockFile*> files) {
  std::vector<FileRequest> requests;
  for (BlockFile* file : files) {
    requests.push_back({.file = file, .io = {}});
    requests.back().io.kind = IoRequest::Kind::kSync;
  }
  auto synced = co_await perform_all(requests);
  co_return synced;
}

Task<Result<>> write_superblocks_to(std::span<const SuperblockWrite> writes, SuperblockPlaces places) {
  AlignedBuffer images(2 * writes.size() * kBlockBytes);
  std::vector<FileRequest> requests;
  std::vector<BlockFile*> files;
  for (std::size_t i = 0; i < writes.size(); ++i) {
    files.push_back(writes[i].file);
    Superblock superblock = writes[i].superblock;
    const bool everywhere = places == SuperblockPlaces::kEverywhere;
    if (!everywhere) --superblock.generation;
    for (std::size_t twin = 0; twin < 2; ++twin) {
      const auto image = images.span().subspan((2 * i + twin) * kBlockBytes).first<kBlockBytes>();
      encode_superblock(superblock, image);
      for (std::size_t place = 0; place < kSuperblockOffsets.size(); ++place) {
        const bool turn = everywhere ? place % 2 == twin : place == superblock.generation % 4;
        if (turn) requests.push_back(write_request(*writes[i].file, kSuperblockOffsets[place], image));
      }
      if (!everywhere) ++superblock.generation;
    }
  }
  auto written = co_await perform_all(requests);
  if (!written) co_return written;
  auto synced = co_await sync_files(std::move(files));
  co_return synced;
}

}  // namespace coppice
