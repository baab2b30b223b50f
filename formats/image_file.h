// What a descriptor of an image is good for: its size, and whether it has holes or is but a stream.
//
// Blocking system calls on an open descriptor; nothing is kept.
#pragma once

#include <cstdint>

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

// The name of a well-known image format that these first bytes belong to, or null.
const char* foreign_format(const char* head, std::size_t bytes);

}  // namespace coppice::formats
