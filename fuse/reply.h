// Reply: the answer to one request of the kernel, given exactly once.
//
// Cheap to copy; whoever has it last answers. A request that was given up meanwhile (the mount is gone, its
// process was killed) takes its answer in silence. Lives on the reactor's thread.
#pragma once

#include <sys/stat.h>
#include <sys/statvfs.h>

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "coppice/result.h"
#include "fuse/catalog.h"

struct fuse_req;

namespace coppice::fuse {

class Reply {
 public:
  explicit Reply(fuse_req* request) : request_(request) {}

  void error(int errno_value) const;
  void error(const Error& why) const { error(errno_for(why.kind)); }
  void error(const Failure& why) const { error(errno_for(why.kind)); }
  void done() const { error(0); }
  // What a name leads to, never to be remembered by the kernel, whose names would outlive what others do.
  void entry(const struct stat& attributes) const;
  void attributes(const struct stat& attributes) const;
  void link(const std::string& target) const;
  struct OpenHow {
    bool past_cache = false;  // all reads and writes come here, several at once
    bool keep_cache = false;  // the content never changes
  };
  // False: nobody will close it.
  [[nodiscard]] bool opened(std::uint64_t handle, OpenHow how) const;
  void data(std::span<const std::byte> bytes) const;
  void written(std::size_t bytes) const;
  void position(std::uint64_t offset) const;
  void file_system(const struct statvfs& figures) const;
  // From the entry `first` on, as many as fit.
  void directory(const std::vector<DirectoryEntry>& entries, std::uint64_t first,
                 std::size_t most_bytes) const;

  [[nodiscard]] int process() const;

 private:
  static int errno_for(ErrorKind kind);
  fuse_req* request_;
};

}  // namespace coppice::fuse
