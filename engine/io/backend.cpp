#include "io/backend.h"

#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <string_view>

namespace coppice {

namespace {

// Too many open files, say, would hit the fall-back just as well: then the error is the answer.
bool is_unavailable(int error) {
  return error == EPERM || error == EACCES || error == ENOSYS || error == EINVAL || error == EOPNOTSUPP ||
         error == ENOMEM;  // older kernels count the ring against RLIMIT_MEMLOCK
}

}  // namespace

Result<std::unique_ptr<Backend>> choose_backend(const std::function<void(const std::string&)>& notice) {
  const char* setting = std::getenv("COPPICE_IO");
  const std::string_view wanted = setting == nullptr ? "" : setting;
  if (wanted == "posix") return make_posix_backend();
  if (!wanted.empty() && wanted != "uring")
    return fail(ErrorKind::kInvalid, EINVAL, "COPPICE_IO is neither `uring` nor `posix`");
  auto uring = make_uring_backend();
  if (uring || wanted == "uring" || !is_unavailable(uring.error().errno_value)) return uring;
  if (notice)
    notice(std::string("io_uring is not available (") + std::strerror(uring.error().errno_value) +
           "): using pread/pwrite, slower");
  return make_posix_backend();
}

}  // namespace coppice
