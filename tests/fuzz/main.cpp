// libFuzzer's entry.
#include "fuzz.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t bytes) {
  coppice::fuzz::run_one(std::as_bytes(std::span(data, bytes)));
  return 0;
}
