// Whether a listener's clients use TLS, in the protocol's words: NOTLS, SELECTIVETLS with no export that
// demands it, FORCEDTLS.
#pragma once

#include <cstdint>

namespace coppice::nbd {

enum class TlsMode : std::uint8_t {
  kOff,
  kOn,       // who asks for it gets it
  kRequire,  // nothing is answered without
};

}  // namespace coppice::nbd
