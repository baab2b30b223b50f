// Little-endian cursors over bytes, for everything that reaches a disk.
//
// Numbers are stored as the machine has them, which is checked to be little-endian.
// A Reader never reads past its end: after a short or malformed input ok() is false and what it returned is
// zero. A Writer appends to a vector.
#pragma once

#include <bit>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace coppice {

static_assert(std::endian::native == std::endian::little);

inline constexpr std::size_t kMostVarintBytes = 10;

// Where there is room for it. Returns what is behind it.
inline std::byte* put_varint(std::byte* at, std::uint64_t value) {
  for (; value >= 0x80; value >>= 7) *at++ = static_cast<std::byte>(value | 0x80);
  *at++ = static_cast<std::byte>(value);
  return at;
}

class Writer {
 public:
  explicit Writer(std::vector<std::byte>& out) : out_(out) {}
  void u8(std::uint8_t value) { raw(&value, sizeof value); }
  void u16(std::uint16_t value) { raw(&value, sizeof value); }
  void u32(std::uint32_t value) { raw(&value, sizeof value); }
  void u64(std::uint64_t value) { raw(&value, sizeof value); }
  void varint(std::uint64_t value) {
    std::byte encoded[kMostVarintBytes];
    raw(encoded, static_cast<std::size_t>(put_varint(encoded, value) - encoded));
  }
  void bytes(std::span<const std::byte> data) { raw(data.data(), data.size()); }
  void text(std::string_view value) {
    varint(value.size());
    raw(value.data(), value.size());
  }

 private:
  void raw(const void* data, std::size_t size) {
    const auto* first = static_cast<const std::byte*>(data);
    out_.insert(out_.end(), first, first + size);
  }
  std::vector<std::byte>& out_;
};

class Reader {
 public:
  explicit Reader(std::span<const std::byte> data) : data_(data) {}
  std::uint8_t u8() { return number<std::uint8_t>(); }
  std::uint16_t u16() { return number<std::uint16_t>(); }
  std::uint32_t u32() { return number<std::uint32_t>(); }
  std::uint64_t u64() { return number<std::uint64_t>(); }
  std::uint64_t varint() {
    std::uint64_t value = 0;
    for (unsigned shift = 0; shift < 64; shift += 7) {
      const std::uint8_t byte = u8();
      if (shift == 63 && byte > 1) break;
      if (shift > 0 && byte == 0) break;  // longer than needed: one value has one encoding
      value |= static_cast<std::uint64_t>(byte & 0x7f) << shift;
      if (!(byte & 0x80)) return value;
    }
    ok_ = false;
    return 0;
  }
  std::span<const std::byte> bytes(std::size_t size) {
    if (size > data_.size()) {
      ok_ = false;
      return {};
    }
    auto taken = data_.first(size);
    data_ = data_.subspan(size);
    return taken;
  }
  std::string text() {
    auto taken = bytes(static_cast<std::size_t>(varint()));
    return {reinterpret_cast<const char*>(taken.data()), taken.size()};
  }
  [[nodiscard]] bool ok() const { return ok_; }
  [[nodiscard]] bool done() const { return data_.empty(); }
  [[nodiscard]] std::size_t remaining() const { return data_.size(); }

 private:
  template <class T>
  T number() {
    T value = 0;
    auto taken = bytes(sizeof(T));
    if (!taken.empty()) std::memcpy(&value, taken.data(), sizeof(T));
    return value;
  }
  std::span<const std::byte> data_;
  bool ok_ = true;
};

}  // namespace coppice
