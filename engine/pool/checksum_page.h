// A resident page of checksums. For checksum_pages*.cpp only.
//
// It is in the clean list exactly when it is loaded, clean and not being written; in the dirty list exactly
// when it is dirty. To use it reads and writes nothing of its neighbours in a list: each would be a miss of
// the processor's cache, at every request.
#pragma once

#include <array>
#include <cstdint>
#include <optional>

#include "io/block_file.h"
#include "pool/checksum_pages.h"
#include "pool/page_pair.h"

namespace coppice {

inline constexpr std::uint32_t kUnknownChecksum = 0;

struct ChecksumPages::Page {
  enum class State : std::uint8_t { kLoading, kLoaded, kFailed };

  PhysicalBlock first;  // address of copy 0
  PagePair pair;
  Page* previous = nullptr;
  Page* next = nullptr;
  std::uint32_t pins = 0;
  State state = State::kLoading;
  bool dirty = false;
  bool writing = false;
  bool used = false;  // since trim() looked at it
  Error error;        // why it failed
  std::array<std::uint32_t, kChecksumsPerPage> checksums{};
};

struct ChecksumPages::Load {
  Page* page = nullptr;
  AlignedBuffer both;
};

}  // namespace coppice
