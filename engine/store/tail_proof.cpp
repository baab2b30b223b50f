#include "store/tail_proof.h"

#include <algorithm>
#include <span>

#include "base/hash.h"
#include "base/mutation.h"
#include "coppice/aligned_buffer.h"
#include "pool/requests.h"

namespace coppice {

namespace {

constexpr std::uint64_t kPieceBlocks = 64;

// In order, without overlaps, none longer than a piece.
std::vector<PhysicalRun> pieces_of(std::vector<PhysicalRun> runs) {
  std::ranges::sort(runs, {}, &PhysicalRun::first);
  std::vector<PhysicalRun> pieces;
  PhysicalBlock done;
  for (const PhysicalRun& run : runs) {
    const PhysicalBlock end = run.first.next(run.count);
    for (PhysicalBlock at = std::max(run.first, done); at < end;) {
      const std::uint64_t count = std::min(kPieceBlocks, end.value - at.value);
      pieces.push_back({at, count});
      at = at.next(count);
    }
    done = std::max(done, end);
  }
  return pieces;
}

}  // namespace

std::vector<PhysicalRun> runs_of(const std::vector<Record>& records) {
  std::vector<PhysicalRun> runs;
  for (const Record& record : records) {
    if (const auto* map = std::get_if<MapRecord>(&record); map != nullptr && map->physical.value != 0) {
      runs.push_back({map->physical, map->count});
    } else if (const auto* checksum = std::get_if<ChecksumRecord>(&record)) {
      runs.push_back({checksum->first, checksum->checksums.size()});
    }
  }
  return runs;
}

Task<Result<>> TailProof::look_at(Pool& pool, std::vector<PhysicalRun> runs) {
  const std::vector<PhysicalRun> pieces = pieces_of(std::move(runs));
  const std::span<const PhysicalRun> all(pieces);
  for (std::size_t done = 0; done < all.size(); done += kRequestWindow) {
    const auto window = all.subspan(done, std::min(kRequestWindow, all.size() - done));
    AlignedBuffer buffer(window.size() * kPieceBlocks * kBlockBytes);
    std::vector<FileRequest> requests;
    for (std::size_t i = 0; i < window.size(); ++i) {
      const auto into = buffer.span().subspan(i * kPieceBlocks * kBlockBytes, window[i].count * kBlockBytes);
      requests.push_back(
          read_request(pool.file(window[i].first.member()), window[i].first.offset_bytes(), into));
    }
    // One window: a failed request fails alone, and is tried once more by itself.
    (void)co_await perform_all(requests);
    for (FileRequest& request : requests) {
      if (request.io.error != 0) (void)co_await perform_all(std::span(&request, 1));
    }
    for (std::size_t i = 0; i < window.size(); ++i) {
      for (std::uint64_t block = 0; block < window[i].count; ++block) {
        const PhysicalBlock address = window[i].first.next(block);
        const std::span<const std::byte, kBlockBytes> content(requests[i].io.memory + block * kBlockBytes,
                                                              kBlockBytes);
        if (requests[i].io.error == 0) found_[address.value] = block_checksum(content, address);
      }
    }
  }
  co_return Result<>{};
}

bool TailProof::fits(PhysicalBlock block, std::uint32_t checksum) const {
  const auto at = found_.find(block.value);
  return at == found_.end() || at->second == checksum || mutated(Mutation::kTailNotVerified);
}

std::optional<std::uint32_t> TailProof::found(PhysicalBlock block) const {
  const auto at = found_.find(block.value);
  if (at == found_.end()) return std::nullopt;
  return at->second;
}

}  // namespace coppice
