// Numbers as the NBD protocol puts them on the wire: big-endian, without alignment.
//
// A struct made of Big fields only has exactly the bytes of the protocol's picture of it, so that sending and
// receiving are a memcpy. Pure; any thread.
#pragma once

#include <array>
#include <bit>
#include <concepts>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <span>
#include <type_traits>

namespace coppice::nbd {

template <std::unsigned_integral T>
class Big {
 public:
  constexpr Big() = default;
  constexpr Big(T value) : bytes_(std::bit_cast<Bytes>(swap(value))) {}    // NOLINT: reads as the number
  constexpr operator T() const { return swap(std::bit_cast<T>(bytes_)); }  // NOLINT

 private:
  using Bytes = std::array<std::byte, sizeof(T)>;
  static constexpr T swap(T value) {
    if constexpr (std::endian::native == std::endian::big) return value;
    return std::byteswap(value);
  }
  Bytes bytes_{};
};

using Big16 = Big<std::uint16_t>;
using Big32 = Big<std::uint32_t>;
using Big64 = Big<std::uint64_t>;

template <class T>
concept WireStruct = std::is_trivially_copyable_v<T> && alignof(T) == 1;

// `from` holds at least the struct.
template <WireStruct T>
T decode(std::span<const std::byte> from) {
  T value;
  std::memcpy(&value, from.data(), sizeof(T));
  return value;
}

template <WireStruct T>
std::span<const std::byte> bytes_of(const T& value) {
  return std::as_bytes(std::span(&value, 1));
}

}  // namespace coppice::nbd
