#include "pool/bits.h"

#include <catch2/catch.hpp>
#include <random>
#include <vector>

namespace coppice {
namespace {

std::uint64_t naive_find(const std::vector<std::uint64_t>& words, bool value, std::uint64_t from,
                         std::uint64_t to) {
  while (from < to && test_bit(words, from) != value) ++from;
  return from;
}

std::uint64_t naive_before(const std::vector<std::uint64_t>& words, std::uint64_t position,
                           std::uint64_t low) {
  std::uint64_t count = 0;
  while (position > low && !test_bit(words, position - 1)) {
    --position;
    ++count;
  }
  return count;
}

// Long stretches of equal bits, so that word boundaries are crossed in every way.
std::vector<std::uint64_t> random_words(std::mt19937& random, std::size_t size) {
  std::vector<std::uint64_t> words(size);
  for (std::uint64_t bit = 0; bit < size * kWordBits;) {
    const std::uint64_t length = std::min<std::uint64_t>(1 + random() % 150, size * kWordBits - bit);
    const bool value = random() % 2 == 0;
    for_each_word(bit, length,
                  [&](std::uint64_t word, std::uint64_t mask) { words[word] |= value ? mask : 0; });
    bit += length;
  }
  return words;
}

TEST_CASE("bit searches agree with looking at every bit") {
  std::mt19937 random(7);
  for (int round = 0; round < 300; ++round) {
    const auto words = random_words(random, 6);
    for (int i = 0; i < 200; ++i) {
      const std::uint64_t to = random() % (words.size() * kWordBits + 1);
      const std::uint64_t from = random() % (to + 1);
      REQUIRE(find_bit<true>(words, from, to) == naive_find(words, true, from, to));
      REQUIRE(find_bit<false>(words, from, to) == naive_find(words, false, from, to));
      REQUIRE(zeroes_before(words, to, from) == naive_before(words, to, from));
    }
  }
}

TEST_CASE("the words of a range cover exactly its bits") {
  std::mt19937 random(8);
  for (int round = 0; round < 2000; ++round) {
    std::vector<std::uint64_t> words(5);
    const std::uint64_t first = random() % 320;
    const std::uint64_t count = random() % (321 - first);
    for_each_word(first, count, [&](std::uint64_t word, std::uint64_t mask) {
      CHECK(mask != 0);
      words[word] |= mask;
    });
    for (std::uint64_t bit = 0; bit < 320; ++bit)
      REQUIRE(test_bit(words, bit) == (bit >= first && bit < first + count));
  }
}

}  // namespace
}  // namespace coppice
