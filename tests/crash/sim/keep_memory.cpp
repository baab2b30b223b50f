#include "keep_memory.h"

#include <malloc.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cstdint>
#include <cstdlib>

#include "base/huge_page.h"
#include "base/io_memory.h"
#include "base/pooled.h"
#include "coppice/types.h"

namespace coppice::sim {

namespace {

// Address space; memory is taken as it is touched.
constexpr int kHeapBytes = 1 << 30;
constexpr int kMappedBytes = 32 << 20;  // the largest threshold that malloc takes

}  // namespace

void keep_memory() {
  if (!kPooled) return;
  enable_io_memory();
  mallopt(M_MMAP_THRESHOLD, kMappedBytes);
  mallopt(M_TRIM_THRESHOLD, kHeapBytes);
  mallopt(M_TOP_PAD, kHeapBytes);
  const auto before = round_up(reinterpret_cast<std::uintptr_t>(sbrk(0)), kHugePageBytes);
  // More than there is: the heap grows by all of the above. Volatile, or the compiler leaves both calls out.
  void* volatile grown = std::malloc(kMappedBytes / 2);
  std::free(grown);
  const auto end = reinterpret_cast<std::uintptr_t>(sbrk(0));
  if (end > before) (void)madvise(reinterpret_cast<void*>(before), end - before, MADV_HUGEPAGE);
}

}  // namespace coppice::sim
