// Checksum pages and the disk: loading what is not resident, and writing what changed.
#include <cstring>
#include <utility>

#include "pool/checksum_page.h"
#include "pool/requests.h"

namespace coppice {

// A page of which neither copy verifies loads as entirely unknown; where only one does, the other is written
// anew by the next checkpoint.
void ChecksumPages::finish_load(Load& load) {
  Page& page = *load.page;
  if (const auto chosen = choose_copy(load.both.span(), page.first)) {
    page.pair = chosen->pair;
    std::memcpy(page.checksums.data(), chosen->content.data(), kPageContentBytes);
  }
  if (page.pair.damaged_other) make_dirty(page);
  page.state = Page::State::kLoaded;
  settle(page);
}

Task<Result<>> ChecksumPages::pin(PhysicalRun run) {
  if (try_pin(run)) co_return Result<>{};
  if (!covers(run)) co_return fail(ErrorKind::kCorrupt, 0, "a block address outside the pool");
  std::vector<Load> loads;
  start_loads(run, loads);
  std::vector<FileRequest> requests;
  for (const Load& load : loads) {
    BlockFile& file = pool_.file(load.page->first.member());
    requests.push_back(read_request(file, load.page->first.offset_bytes(), load.both.span()));
  }
  auto read = co_await perform_all(requests);
  for (std::size_t i = 0; i < loads.size(); ++i) {
    if (requests[i].io.error == 0) {
      finish_load(loads[i]);
    } else {
      loads[i].page->state = Page::State::kFailed;
      loads[i].page->error = read.error();
    }
  }
  if (!loads.empty()) loaded_.wake_all();
  auto loaded = co_await wait_until_loaded(run);
  if (!loaded) unpin(run);
  trim();
  co_return loaded;
}

std::vector<ChecksumPages::PageImage> ChecksumPages::collect_dirty(std::size_t max_pages) {
  std::vector<PageImage> images;
  for (Page* page = dirty_.front(); page != nullptr && images.size() < max_pages;) {
    Page* const following = page->next;
    if (!page->writing) {
      dirty_.remove(*page);
      page->dirty = false;
      page->writing = true;
      AlignedBuffer bytes(kBlockBytes);
      std::memcpy(bytes.data() + kPageHeaderBytes, page->checksums.data(), kPageContentBytes);
      images.push_back({std::move(bytes), page});
    }
    page = following;
  }
  return images;
}

Task<Result<>> ChecksumPages::write(std::vector<PageImage> pages, std::uint64_t sequence) {
  std::vector<PageWrite> writes;
  for (PageImage& image : pages)
    writes.push_back({.pair = &image.page->pair,
                      .first = image.page->first,
                      .image = image.bytes.span().first<kBlockBytes>()});
  auto done = co_await write_pages(pool_, writes, sequence);
  for (std::size_t i = 0; i < pages.size(); ++i) {
    Page& page = *pages[i].page;
    if (!writes[i].written) make_dirty(page);
    page.writing = false;
    settle(page);
  }
  trim();
  co_return done;
}

}  // namespace coppice
