// Bitmaps as arrays of 64-bit words: searches and edits a word at a time.
//
// Positions count from bit 0 of word 0; `to` never exceeds the bits there are. Pure.
#pragma once

#include <algorithm>
#include <bit>
#include <cstdint>
#include <span>

namespace coppice {

inline constexpr std::uint64_t kWordBits = 64;

// The first bit at or behind `from` that equals `value`, or `to`.
template <bool value>
std::uint64_t find_bit(std::span<const std::uint64_t> words, std::uint64_t from, std::uint64_t to) {
  if (from >= to) return to;
  std::uint64_t word = from / kWordBits;
  const auto candidates = [&](std::uint64_t index) { return value ? words[index] : ~words[index]; };
  std::uint64_t bits = candidates(word) & (~std::uint64_t{0} << (from % kWordBits));
  const std::uint64_t last = (to - 1) / kWordBits;
  while (bits == 0) {
    if (++word > last) return to;
    bits = candidates(word);
  }
  return std::min(to, word * kWordBits + static_cast<std::uint64_t>(std::countr_zero(bits)));
}

// How many zero bits stand directly before `position`, not looking further than `low`.
inline std::uint64_t zeroes_before(std::span<const std::uint64_t> words, std::uint64_t position,
                                   std::uint64_t low) {
  std::uint64_t at = position;
  while (at > low) {
    const std::uint64_t word = (at - 1) / kWordBits;
    const std::uint64_t in_word = at - word * kWordBits;  // 1 … 64 bits of it lie before `at`
    const std::uint64_t bits = words[word] << (kWordBits - in_word);
    const auto zeroes = std::min<std::uint64_t>(in_word, static_cast<std::uint64_t>(std::countl_zero(bits)));
    at -= zeroes;
    if (zeroes < in_word) break;
  }
  return position - std::max(at, low);
}

// Calls visit(word index, mask of the bits in it) for each word that [first, first + count) touches.
template <class Visit>
void for_each_word(std::uint64_t first, std::uint64_t count, Visit visit) {
  while (count > 0) {
    const std::uint64_t shift = first % kWordBits;
    const std::uint64_t taken = std::min(count, kWordBits - shift);
    const std::uint64_t mask = (taken == kWordBits ? ~std::uint64_t{0} : (std::uint64_t{1} << taken) - 1);
    visit(first / kWordBits, mask << shift);
    first += taken;
    count -= taken;
  }
}

inline bool test_bit(std::span<const std::uint64_t> words, std::uint64_t position) {
  return (words[position / kWordBits] >> (position % kWordBits) & 1) != 0;
}

inline std::uint64_t count_bits(std::uint64_t word) {
  return static_cast<std::uint64_t>(std::popcount(word));
}

}  // namespace coppice
