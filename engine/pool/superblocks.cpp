#include "pool/superblocks.h"

#include <optional>

#include "coppice/aligned_buffer.h"
#include "pool/requests.h"

namespace coppice {

Task<Result<Superblock>> read_superblock(BlockFile& file) {
  AlignedBuffer buffer(kSuperblockOffsets.size() * kBlockBytes);
  std::optional<Superblock> newest;
  Error absent{ErrorKind::kInvalid, 0, "holds no superblock"};
  for (const std::uint64_t offset : kSuperblockOffsets) {
    if (offset + kBlockBytes > file.size_bytes()) break;
    const auto place = buffer.first(kBlockBytes);
    auto read = co_await read_blocks(file, offset, place);
    if (!read) co_return std::unexpected(read.error());
    auto found = decode_superblock(place.first<kBlockBytes>());
    if (found) {
      if (!newest || found->generation > newest->generation) newest = *found;
    } else if (found.error().kind == ErrorKind::kUnsupported) {
      co_return std::unexpected(found.error());
    } else if (found.error().kind == ErrorKind::kCorrupt) {
      absent = found.error();
    }
  }
  if (!newest) co_return std::unexpected(absent);
  co_return *newest;
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
  AlignedBuffer images(writes.size() * kBlockBytes);
  std::vector<FileRequest> requests;
  std::vector<BlockFile*> files;
  for (std::size_t i = 0; i < writes.size(); ++i) {
    const auto image = images.span().subspan(i * kBlockBytes).first<kBlockBytes>();
    encode_superblock(writes[i].superblock, image);
    files.push_back(writes[i].file);
    for (std::size_t place = 0; place < kSuperblockOffsets.size(); ++place) {
      const bool turn = writes[i].superblock.generation % kSuperblockOffsets.size() == place;
      if (turn || places == SuperblockPlaces::kEverywhere)
        requests.push_back(write_request(*writes[i].file, kSuperblockOffsets[place], image));
    }
  }
  auto written = co_await perform_all(requests);
  if (!written) co_return written;
  auto synced = co_await sync_files(std::move(files));
  co_return synced;
}

}  // namespace coppice
