#include "pool/page_pair.h"

#include <algorithm>
#include <vector>

#include "pool/requests.h"

namespace coppice {

std::optional<ChosenPage> choose_copy(std::span<const std::byte> both, PhysicalBlock first) {
  const ConstPageBytes copy0 = both.subspan<0, kBlockBytes>();
  const ConstPageBytes copy1 = both.subspan<kBlockBytes, kBlockBytes>();
  const auto sequence0 = verify_page(copy0, first);
  const auto sequence1 = verify_page(copy1, first.next());
  if (!sequence0 && !sequence1) return std::nullopt;
  const bool second = sequence1 && (!sequence0 || *sequence1 > *sequence0);
  const PagePair pair{.sequence = second ? *sequence1 : *sequence0,
                      .current = static_cast<std::uint8_t>(second ? 1 : 0),
                      .damaged_other = !sequence0 || !sequence1,
                      .zero_other = (second ? sequence0 : sequence1) == 0u};
  return ChosenPage{pair, page_content(second ? copy1 : copy0)};
}

Task<Result<>> write_pages(Pool& pool, std::span<PageWrite> writes, std::uint64_t sequence) {
  std::vector<FileRequest> requests;
  std::vector<std::uint64_t> sequences;
  requests.reserve(writes.size());
  sequences.reserve(writes.size());
  for (const PageWrite& write : writes) {
    const PhysicalBlock target = write.first.next(1U - write.pair->current);
    sequences.push_back(std::max(sequence, write.pair->sequence + 1));
    seal_page(write.image, sequences.back(), target);
    requests.push_back(write_request(pool.file(target.member()), target.offset_bytes(), write.image));
  }
  auto done = co_await perform_all(requests);
  for (std::size_t i = 0; i < writes.size(); ++i) {
    if (requests[i].io.error != 0) continue;
    PagePair& pair = *writes[i].pair;
    pair = {.sequence = sequences[i], .current = static_cast<std::uint8_t>(1 - pair.current)};
    writes[i].written = true;
  }
  co_return done;
}

}  // namespace coppice
