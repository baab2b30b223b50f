#include "formats/zero_runs.h"

#include <algorithm>
#include <cstring>

#include "coppice/types.h"

namespace coppice::formats {

bool all_zero(std::span<const std::byte> bytes) {
  if (bytes.empty()) return true;
  // Equal to itself moved by one, and the first is zero: all are. memcmp is the fastest loop there is.
  return bytes[0] == std::byte{0} && std::memcmp(bytes.data(), bytes.data() + 1, bytes.size() - 1) == 0;
}

std::vector<Run> data_runs(std::span<const std::byte> bytes) {
  std::vector<Run> runs;
  for (std::size_t offset = 0; offset < bytes.size(); offset += kBlockBytes) {
    const std::size_t length = std::min<std::size_t>(kBlockBytes, bytes.size() - offset);
    if (all_zero(bytes.subspan(offset, length))) continue;
    if (!runs.empty() && runs.back().offset + runs.back().length == offset) {
      runs.back().length += length;
    } else {
      runs.push_back({offset, length});
    }
  }
  return runs;
}

}  // namespace coppice::formats
