#include "pool/page_pair.h"

#include <catch2/catch.hpp>
#include <cstring>

#include "coppice/aligned_buffer.h"

namespace coppice {
namespace {

constexpr PhysicalBlock kFirst{4711};

struct Copies {
  AlignedBuffer both{kPagePairBytes};
  Copies() { std::memset(both.data(), 0, both.size()); }
  PageBytes copy(std::size_t index) { return both.span().subspan(index * kBlockBytes).first<kBlockBytes>(); }
  void seal(std::size_t index, std::uint64_t sequence, char content) {
    std::memset(page_content(copy(index)).data(), content, kPageContentBytes);
    seal_page(copy(index), sequence, kFirst.next(index));
  }
  void damage(std::size_t index) { copy(index)[3000] ^= std::byte{1}; }
};

TEST_CASE("pages never written are valid, with sequence 0") {
  const Copies copies;
  const auto chosen = choose_copy(copies.both.span(), kFirst);
  REQUIRE(chosen.has_value());
  CHECK(chosen->pair.sequence == 0);
  CHECK_FALSE(chosen->pair.damaged_other);
}

TEST_CASE("the newest valid copy wins") {
  Copies copies;
  copies.seal(0, 8, 'a');
  copies.seal(1, 9, 'b');
  auto chosen = choose_copy(copies.both.span(), kFirst);
  REQUIRE(chosen.has_value());
  CHECK(chosen->pair.current == 1);
  CHECK(chosen->pair.sequence == 9);
  CHECK(chosen->content[0] == std::byte{'b'});
  copies.seal(0, 10, 'c');
  chosen = choose_copy(copies.both.span(), kFirst);
  REQUIRE(chosen.has_value());
  CHECK(chosen->pair.current == 0);
  CHECK(chosen->content[0] == std::byte{'c'});
}

TEST_CASE("a damaged copy gives way to the other, whichever is newer") {
  Copies copies;
  copies.seal(0, 8, 'a');
  copies.seal(1, 9, 'b');
  const std::size_t damaged = GENERATE(0U, 1U);
  copies.damage(damaged);
  const auto chosen = choose_copy(copies.both.span(), kFirst);
  REQUIRE(chosen.has_value());
  CHECK(chosen->pair.current == 1 - damaged);
  CHECK(chosen->pair.damaged_other);
  copies.damage(1 - damaged);
  CHECK_FALSE(choose_copy(copies.both.span(), kFirst).has_value());
}

TEST_CASE("a torn first write leaves the fresh page") {
  Copies copies;
  copies.seal(1, 1, 'x');
  std::memset(copies.copy(1).data() + 512, 0, kBlockBytes - 512);
  const auto chosen = choose_copy(copies.both.span(), kFirst);
  REQUIRE(chosen.has_value());
  CHECK(chosen->pair.current == 0);
  CHECK(chosen->pair.sequence == 0);
}

TEST_CASE("a page written to another address does not count") {
  Copies copies;
  copies.seal(0, 3, 'a');
  copies.seal(1, 4, 'b');
  CHECK_FALSE(choose_copy(copies.both.span(), kFirst.next(2)).has_value());
}

}  // namespace
}  // namespace coppice
