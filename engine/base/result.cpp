#include "coppice/result.h"

#include <array>
#include <cerrno>

namespace coppice {

namespace {

struct KindRow {
  ErrorKind kind;
  const char* name;
  int errno_value;
};

constexpr std::array<KindRow, 10> kKinds = {{
    {ErrorKind::kInvalid, "invalid", EINVAL},
    {ErrorKind::kNotFound, "not-found", ENOENT},
    {ErrorKind::kExists, "exists", EEXIST},
    {ErrorKind::kBusy, "busy", EBUSY},
    {ErrorKind::kNoSpace, "no-space", ENOSPC},
    {ErrorKind::kIo, "io", EIO},
    {ErrorKind::kCorrupt, "corrupt", EIO},
    {ErrorKind::kUnsupported, "unsupported", EOPNOTSUPP},
    {ErrorKind::kReadOnly, "read-only", EPERM},
    {ErrorKind::kUntracked, "untracked", ENODATA},
}};
constexpr const KindRow& kIoRow = kKinds[5];
static_assert(kIoRow.kind == ErrorKind::kIo);

const KindRow& row_of(ErrorKind kind) {
  for (const KindRow& row : kKinds)
    if (row.kind == kind) return row;
  return kIoRow;
}

}  // namespace

std::unexpected<Failure> refuse(const Error& error, std::string object) {
  return refuse(error.kind, std::move(object) + ": " + error.text);
}

const char* kind_name(ErrorKind kind) {
  return row_of(kind).name;
}

// A name that this version doesn't know comes from a newer peer; all that is certain is that it failed.
ErrorKind kind_from_name(const std::string& name) {
  for (const KindRow& row : kKinds)
    if (name == row.name) return row.kind;
  return ErrorKind::kIo;
}

// By kind alone: what a system call answered inside (EAGAIN, ENXIO …) would mean something else to a client.
int errno_of(const Error& error) {
  return row_of(error.kind).errno_value;
}

}  // namespace coppice
