#include "nbd/protocol.h"

namespace coppice::nbd {

WireError wire_error(const Error& error) {
  switch (error.kind) {
    case ErrorKind::kInvalid:
    case ErrorKind::kNotFound:
    case ErrorKind::kExists:
      return WireError::kInvalid;
    case ErrorKind::kNoSpace:
      return WireError::kNoSpace;
    case ErrorKind::kUnsupported:
      return WireError::kNotSupported;
    case ErrorKind::kReadOnly:
      return WireError::kPermission;
    // The disk was taken away from this client: nothing it sends will succeed any more.
    case ErrorKind::kBusy:
      return WireError::kShutdown;
    case ErrorKind::kIo:
    case ErrorKind::kUntracked:
    case ErrorKind::kCorrupt:
      break;
  }
  return WireError::kIo;
}

}  // namespace coppice::nbd
