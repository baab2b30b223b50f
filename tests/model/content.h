// Content: what a disk or snapshot must hold, as the test remembers it.
//
// One shared Version per 4 KiB block: equal pointers mean that nothing was written between two nodes, so a
// copy of a whole disk costs 16 bytes a block, and a diff has something to be compared with. No pointer: the
// block was never written.
#pragma once

#include <algorithm>
#include <array>
#include <cstring>
#include <memory>
#include <span>
#include <vector>

#include "coppice/block_device.h"

namespace coppice::test {

// kBase: of a base, which takes no space in the pool and is told as data all the same.
enum class Space : std::uint8_t { kNone, kTaken, kEither, kBase };

struct Version {
  std::array<std::byte, kBlockBytes> bytes{};
  Space space = Space::kTaken;
};
using VersionPointer = std::shared_ptr<const Version>;

inline const std::byte* bytes_of(const VersionPointer& version) {
  static const Version kZeroes{};
  return version ? version->bytes.data() : kZeroes.bytes.data();
}
inline bool same_bytes(const VersionPointer& a, const VersionPointer& b) {
  return a == b || std::memcmp(bytes_of(a), bytes_of(b), kBlockBytes) == 0;
}
inline bool is_zero(const VersionPointer& version) {
  return same_bytes(version, nullptr);
}
// The same bytes, but who knows whether it is the same version or takes space.
inline VersionPointer either_version(const VersionPointer& version) {
  auto copy = version ? std::make_shared<Version>(*version) : std::make_shared<Version>();
  copy->space = Space::kEither;
  return copy;
}
inline Space space_of(const VersionPointer& version) {
  return version ? version->space : Space::kNone;
}

class Content {
 public:
  explicit Content(std::uint64_t size_bytes = 0) { resize(size_bytes); }

  [[nodiscard]] std::uint64_t size_bytes() const { return size_bytes_; }
  [[nodiscard]] std::uint64_t blocks() const { return blocks_.size(); }
  [[nodiscard]] const VersionPointer& block(std::uint64_t index) const { return blocks_[index]; }
  void set_block(std::uint64_t index, VersionPointer version) { blocks_[index] = std::move(version); }

  void write(std::uint64_t offset_bytes, std::span<const std::byte> from) {
    each_block(offset_bytes, from.size(),
               [&](Version& block, std::uint64_t in_block, std::uint64_t done, std::uint64_t length, bool) {
                 std::memcpy(block.bytes.data() + in_block, from.data() + done, length);
                 block.space = Space::kTaken;
                 return true;
               });
  }
  // `no_hole` takes space for every block it touches; else the whole ones must give theirs up, and a part of
  // a block that is zero already is left alone.
  void clear(std::uint64_t offset_bytes, std::uint64_t length_bytes, bool no_hole) {
    each_block(offset_bytes, length_bytes,
               [&](Version& block, std::uint64_t in_block, std::uint64_t, std::uint64_t length, bool whole) {
                 const auto part = std::span(block.bytes).subspan(in_block, length);
                 const bool is_zero =
                     std::ranges::all_of(part, [](std::byte byte) { return byte == std::byte{0}; });
                 if (!no_hole && !whole && is_zero) return false;
                 std::ranges::fill(part, std::byte{0});
                 block.space = no_hole || !whole ? Space::kTaken : Space::kNone;
                 return true;
               });
  }
  void resize(std::uint64_t size_bytes) {
    if (size_bytes < size_bytes_ && size_bytes % kBlockBytes != 0) {
      clear(size_bytes, std::min(size_bytes_, round_up(size_bytes, kBlockBytes)) - size_bytes, false);
    }
    size_bytes_ = size_bytes;
    blocks_.resize(round_up(size_bytes, kBlockBytes) / kBlockBytes);
  }
  // The first byte that differs, or npos.
  static constexpr std::uint64_t kEqual = UINT64_MAX;
  [[nodiscard]] std::uint64_t first_difference(std::uint64_t offset_bytes,
                                               std::span<const std::byte> found) const {
    for (std::uint64_t done = 0; done < found.size();) {
      const std::uint64_t at = offset_bytes + done;
      const std::uint64_t in_block = at % kBlockBytes;
      const std::uint64_t length = std::min(kBlockBytes - in_block, found.size() - done);
      const std::byte* expected = bytes_of(blocks_[at / kBlockBytes]) + in_block;
      if (std::memcmp(expected, found.data() + done, length) != 0) {
        std::uint64_t byte = 0;
        while (expected[byte] == found[done + byte]) ++byte;
        return at + byte;
      }
      done += length;
    }
    return kEqual;
  }

 private:
  template <class Edit>
  void each_block(std::uint64_t offset_bytes, std::uint64_t length_bytes, Edit edit) {
    for (std::uint64_t done = 0; done < length_bytes;) {
      const std::uint64_t at = offset_bytes + done;
      const std::uint64_t in_block = at % kBlockBytes;
      const std::uint64_t length = std::min(kBlockBytes - in_block, length_bytes - done);
      VersionPointer& place = blocks_[at / kBlockBytes];
      auto changed = place ? std::make_shared<Version>(*place) : std::make_shared<Version>();
      // The last block of a disk is whole when it is covered as far as the disk goes.
      const bool whole = in_block == 0 && (length == kBlockBytes || at + length == size_bytes_);
      if (edit(*changed, in_block, done, length, whole)) place = std::move(changed);
      done += length;
    }
  }

  std::uint64_t size_bytes_ = 0;
  std::vector<VersionPointer> blocks_;
};

}  // namespace coppice::test
