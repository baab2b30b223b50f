// A whole qcow2 image: its header, its tables, and what is packed in it.
#include <algorithm>

#include "../support/memory_image.h"
#include "fuzz.h"
#include "image/qcow2_file.h"

namespace coppice::fuzz {

namespace {

constexpr std::uint64_t kReadBytes = 64 << 10;

int read(BlockFile& file, std::uint64_t offset, std::span<std::byte> into) {
  const auto error = read_at_once(file, offset, into);
  demand(error.has_value(), "a read ends");
  return *error;
}

}  // namespace

void run_one(Input input) {
  const Bytes bytes(input.begin(), input.end());
  const MemoryImage blocking(bytes);
  auto file = open_qcow2(
      std::make_unique<MemoryImage>(bytes),
      [&blocking](std::uint64_t offset, std::span<std::byte> into) { return blocking.read(offset, into); },
      bytes.size());
  if (!file) {
    demand(!file.error().message.empty() && file.error().message.find('\n') == std::string::npos,
           "a refusal is one line");
    return;
  }
  BlockFile& image = **file;
  const std::uint64_t size = image.size_bytes();
  demand(size != 0, "an image holds something");
  const std::uint64_t looked_at = std::min<std::uint64_t>(size, 1 << 20);
  Bytes into(kReadBytes);
  for (const std::uint64_t from : {std::uint64_t{0}, size / 3, size - 1}) {
    const std::uint64_t length = std::min(size - from, kReadBytes);
    const int error = read(image, from, std::span(into).first(length));
    // Told as a hole: reads as zeroes. Told as data: whatever it is, but the two agree with each other.
    const std::uint64_t end = std::min(size, from + looked_at);
    const std::uint64_t data = image.first_data(from, end);
    demand(data >= from && data <= end, "data is looked for where it was asked for");
    const std::uint64_t zeroes = std::min(data - from, length);
    const auto hole = std::span(into).first(error == 0 ? zeroes : 0);
    demand(std::ranges::all_of(hole, [](std::byte each) { return each == std::byte{0}; }),
           "holes are zeroes");
    demand(data == end || image.first_hole(data, end) > data, "what is data is no hole");
  }
  demand(read(image, size, std::span(into).first(1)) != 0, "nothing stands behind the end");
}

}  // namespace coppice::fuzz
