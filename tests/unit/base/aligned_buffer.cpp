#include "coppice/aligned_buffer.h"

#include <catch2/catch.hpp>
#include <cstring>

using namespace coppice;

TEST_CASE("an aligned buffer starts on a block and has room to the end of its last one") {
  for (const std::size_t bytes : {1u, 512u, 4096u, 4097u, 1u << 20}) {
    AlignedBuffer buffer(bytes);
    CHECK(is_block_aligned(buffer.data()));
    CHECK(buffer.size() == bytes);
    CHECK(buffer.span().size() == bytes);
    // O_DIRECT transfers whole blocks: the sanitizer would see a capacity that is not rounded up.
    std::memset(buffer.data(), 1, (bytes + 4095) / 4096 * 4096);
  }
}

TEST_CASE("an empty or moved-from buffer says so") {
  CHECK(AlignedBuffer().empty());
  CHECK(AlignedBuffer(0).empty());
  AlignedBuffer from(4096);
  const AlignedBuffer to = std::move(from);
  CHECK(to.size() == 4096);
  CHECK(from.empty());  // NOLINT(bugprone-use-after-move): that is the question
  CHECK(from.span().empty());
}

TEST_CASE("alignment is to 4 KiB, not to less") {
  AlignedBuffer buffer(8192);
  CHECK(is_block_aligned(buffer.data() + 4096));
  CHECK_FALSE(is_block_aligned(buffer.data() + 512));
}
