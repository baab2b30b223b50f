// Whether memory is pooled in this build. Not where the address sanitizer looks for wrong accesses: in a pool
// it would not see use after free.
#pragma once

namespace coppice {

#if defined(__SANITIZE_ADDRESS__)
inline constexpr bool kPooled = false;
#elif defined(__has_feature)
inline constexpr bool kPooled = !__has_feature(address_sanitizer);
#else
inline constexpr bool kPooled = true;
#endif

}  // namespace coppice
