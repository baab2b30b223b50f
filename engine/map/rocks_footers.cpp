#include "map/rocks_footers.h"

#include <array>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <optional>

namespace coppice {

namespace {

namespace fs = std::filesystem;

// Footer of format 1 to 5: checksum type u8, two handles of two varints, zeroes up to 41 bytes, version u32,
// magic u64.
constexpr std::size_t kFooterBytes = 53;
constexpr std::size_t kHandlesEnd = 41;
constexpr std::uint64_t kTableMagic = 0x88e241b785f4cff7;
constexpr std::uint64_t kBlockTrailerBytes = 5;

std::optional<std::uint64_t> read_varint(const std::array<unsigned char, kFooterBytes>& bytes,
                                         std::size_t& at) {
  std::uint64_t value = 0;
  for (unsigned shift = 0; shift < 64 && at < kHandlesEnd; shift += 7) {
    const unsigned char byte = bytes[at++];
    value |= static_cast<std::uint64_t>(byte & 0x7f) << shift;
    if ((byte & 0x80) == 0) return value;
  }
  return std::nullopt;
}

bool is_good(const fs::path& path, std::uint64_t size) {
  std::array<unsigned char, kFooterBytes> footer{};
  std::ifstream file(path, std::ios::binary);
  file.seekg(static_cast<std::streamoff>(size - kFooterBytes));
  if (!file.read(reinterpret_cast<char*>(footer.data()), kFooterBytes)) return true;
  std::uint64_t magic = 0;
  std::memcpy(&magic, footer.data() + kFooterBytes - sizeof magic, sizeof magic);
  if (magic != kTableMagic) return true;
  std::size_t at = 1;
  for (int handle = 0; handle < 2; ++handle) {
    const auto offset = read_varint(footer, at);
    const auto bytes = read_varint(footer, at);
    if (!offset || !bytes || *offset > size || *bytes > size || *offset + *bytes + kBlockTrailerBytes > size)
      return false;
  }
  return true;
}

}  // namespace

std::string table_with_bad_footer(const std::string& directory) {
  std::error_code error;
  for (fs::directory_iterator entry(directory, error); !error && entry != fs::directory_iterator();
       entry.increment(error)) {
    if (entry->path().extension() != ".sst") continue;
    const std::uint64_t size = entry->file_size(error);
    if (!error && size >= kFooterBytes && !is_good(entry->path(), size)) return entry->path().string();
  }
  return {};
}

}  // namespace coppice
