// How an operation says that it failed.
//
// On the data path an Error is small, trivially copyable and holds only static text; the caller knows the
// object and adds it. The control plane, which a person reads, answers with a Failure: the same kind plus
// one line that names the object and the remedy.
#pragma once

#include <cstdint>
#include <expected>
#include <string>
#include <type_traits>
#include <utility>

namespace coppice {

// Stable: clients of the control socket see these names.
enum class ErrorKind : std::uint8_t {
  kInvalid = 1,      // the request itself is wrong (EINVAL)
  kNotFound = 2,     // no such disk, snapshot or store (ENOENT)
  kExists = 3,       // the name is taken (EEXIST)
  kBusy = 4,         // someone holds it; try again after they let go (EBUSY)
  kNoSpace = 5,      // the pool is full (ENOSPC)
  kIo = 6,           // a device failed (EIO)
  kCorrupt = 7,      // a checksum or an invariant does not hold (EIO)
  kUnsupported = 8,  // a newer format, a feature not there (EOPNOTSUPP)
  kReadOnly = 9,     // writes are refused here (EPERM)
  kUntracked = 10,   // what changed is not known: copy in full (ENODATA)
};

struct Error {
  ErrorKind kind = ErrorKind::kIo;
  int errno_value = 0;
  const char* text = "";  // static
};
static_assert(std::is_trivially_copyable_v<Error>);

template <class T = void>
using Result = std::expected<T, Error>;

// An error of the control plane. `message` is one complete line without a full stop.
struct Failure {
  ErrorKind kind = ErrorKind::kIo;
  std::string message;
};

template <class T = void>
using Outcome = std::expected<T, Failure>;

inline std::unexpected<Error> fail(ErrorKind kind, int errno_value, const char* text) {
  return std::unexpected(Error{kind, errno_value, text});
}
inline std::unexpected<Failure> refuse(ErrorKind kind, std::string message) {
  return std::unexpected(Failure{kind, std::move(message)});
}
// Puts a data-path error behind the name of the object it happened to.
std::unexpected<Failure> refuse(const Error& error, std::string object);

// The stable name of a kind ("not-found"), as the control socket and logs print it.
const char* kind_name(ErrorKind kind);
ErrorKind kind_from_name(const std::string& name);
// The errno that a POSIX-like client is told.
int errno_of(const Error& error);

}  // namespace coppice
