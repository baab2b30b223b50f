#include "pool/requests.h"

#include <algorithm>
#include <cerrno>

namespace coppice {

namespace {

Result<> first_error(std::span<const FileRequest> requests) {
  for (const FileRequest& request : requests)
    if (request.io.error != 0) return to_result(request.io);
  return {};
}

}  // namespace

Task<Result<>> perform_all(std::span<FileRequest> requests) {
  while (!requests.empty()) {
    const auto window = requests.first(std::min(requests.size(), kRequestWindow));
    Latch latch(static_cast<std::uint32_t>(window.size()));
    for (FileRequest& request : window) {
      request.io.latch = &latch;
      request.file->submit(request.io);
    }
    co_await latch;
    requests = requests.subspan(window.size());
    if (auto done = first_error(window); !done) {
      for (FileRequest& request : requests) request.io.error = ECANCELED;
      co_return done;
    }
  }
  co_return Result<>{};
}

}  // namespace coppice
