// What a descriptor of an image is good for: its size, and whether it has holes or is but a stream.
//
// Blocking system calls on an open descriptor; nothing is kept. Messages, here and wherever this room speaks
// of the image, begin with "the image": who knows its name puts it in.
#pragma once

#include <cstdint>
#include <string_view>

#include "coppice/result.h"

namespace coppice::formats {

enum class ImageKind : std::uint8_t {
  kFile,         // any offset, may have holes
  kBlockDevice,  // any offset, no holes
  kStream,       // in order only, size unknown
};

struct ImageFile {
  int descriptor = -1;  // borrowed
  ImageKind kind = ImageKind::kStream;
  std::uint64_t size_bytes = 0;
};

// `as_stream` says that the descriptor's own position counts, whatever it is ("-").
Outcome<ImageFile> examine(int descriptor, bool as_stream);

// The first bytes of an image that tell what it is.
inline constexpr std::size_t kHeadBytes = 512;
// The name of a well-known format, of images or of packed files, that these first bytes belong to, or null.
const char* foreign_format(std::string_view head);
// Refuses what has one: taken for raw, it would make a disk that no guest can read.
Outcome<> refuse_foreign(std::string_view head);

}  // namespace coppice::formats
