// FileSystem: the operations of the mounted tree, on a store.
//
// Each is a coroutine that answers its Reply once. Numbers are the kernel's; a handle is what open() gave it.
// What the store holds is looked up again whenever it has changed, so that what is made, renamed or removed
// shows at once. Lives on the store's reactor; the store outlives it. Destroyed when no operation runs,
// behind close_all().
#pragma once

#include <sys/types.h>

#include <bit>
#include <functional>
#include <memory>
#include <unordered_map>

#include "coppice/aligned_buffer.h"
#include "coppice/buffer_pool.h"
#include "coppice/reactor.h"
#include "coppice/store.h"
#include "fuse/catalog.h"
#include "fuse/holes.h"
#include "fuse/open_file.h"
#include "fuse/reply.h"

namespace coppice::fuse {

// How the files look, and to whom.
struct Look {
  uid_t uid = 0;
  gid_t gid = 0;
  mode_t mode = 0644;   // of disks; snapshots have no write bits, directories an x for each r
  bool shared = false;  // disks may be written beside clients of other ways
  // Snapshots may be written, disks not; it is gone with the last who has the file open (ScratchDevice).
  bool scratch = false;
};

struct Payload {
  AlignedBuffer buffer;
  std::span<const std::byte> bytes;  // of it
};

class FileSystem {
 public:
  using Log = std::function<void(const std::string&)>;
  FileSystem(Reactor& reactor, Store& store, std::string directory, Look look, Log log)
      : reactor_(reactor),
        store_(store),
        directory_(std::move(directory)),
        look_(look),
        log_(std::move(log)) {}

  // Names and attributes (file_attributes.cpp)
  Task<void> lookup(Reply reply, std::uint64_t parent, std::string name);
  Task<void> get_attributes(Reply reply, std::uint64_t number);
  struct Changes {
    bool owner_or_mode = false;
    bool size = false;
    std::uint64_t size_bytes = 0;
  };
  Task<void> set_attributes(Reply reply, std::uint64_t number, Changes changes);
  Task<void> file_system_figures(Reply reply);

  // Directories and links (file_directories.cpp)
  Task<void> read_link(Reply reply, std::uint64_t number);
  Task<void> open_directory(Reply reply, std::uint64_t number);
  Task<void> read_directory(Reply reply, std::uint64_t number, std::uint64_t handle, std::uint64_t first,
                            std::size_t most_bytes);
  void close_directory(Reply reply, std::uint64_t handle);

  // Files (file_system.cpp)
  Task<void> open(Reply reply, std::uint64_t number, int flags);
  Task<void> close(Reply reply, std::uint64_t handle);
  Task<void> close_all();

  // Their data (file_data.cpp)
  Task<void> read(Reply reply, std::uint64_t handle, std::uint64_t offset_bytes, std::size_t length_bytes);
  Task<void> write(Reply reply, std::uint64_t handle, std::uint64_t offset_bytes, Payload payload,
                   bool durable);
  // Of one that is closed, only if there is something to flush.
  Task<void> flush(Reply reply, std::uint64_t handle, bool closing);
  Task<void> allocate(Reply reply, std::uint64_t handle, int mode, std::uint64_t offset_bytes,
                      std::uint64_t length_bytes);
  Task<void> find(Reply reply, std::uint64_t handle, std::uint64_t offset_bytes, Seek what);
  struct Place {
    std::uint64_t handle = 0;
    std::uint64_t offset_bytes = 0;
  };
  Task<void> copy(Reply reply, Place from, Place to, std::uint64_t length_bytes);

  BufferPool& buffers() { return buffers_; }

 private:
  struct Handle {
    OpenFile* file = nullptr;
    std::uint64_t node = 0;
    Access access = Access::kReadOnly;
  };
  struct Directory {
    std::vector<DirectoryEntry> entries;
  };
  struct Counted {
    std::uint64_t bytes = 0;
    std::chrono::nanoseconds until{};  // when to count again; 0: never
  };
  static Handle& handle_of(std::uint64_t handle) { return *std::bit_cast<Handle*>(handle); }

  Task<Outcome<>> refresh();
  Task<std::optional<Spec>> name_of(std::uint64_t node);
  Task<Outcome<struct stat>> attributes_of(Inode inode);
  Task<std::uint64_t> allocated(Spec spec, std::uint64_t node, std::uint64_t size_bytes, bool changes);
  struct stat directory_attributes(const Inode& inode) const;
  std::vector<DirectoryEntry> entries_of(const Inode& inode) const;
  OpenFile& file_of(std::uint64_t node, int process);
  void forget_unused(std::uint64_t node);
  void note_change(const Handle& handle);
  [[nodiscard]] bool writable(const NodeInfo& node) const;
  void log(const std::string& line) const {
    if (log_) log_(line);
  }

  Reactor& reactor_;
  Store& store_;
  std::string directory_;
  Look look_;
  Log log_;
  NameTable names_;
  Catalog catalog_;
  std::uint64_t seen_changes_ = 0;  // of the store, when the catalog was made
  std::unordered_map<std::uint64_t, std::unique_ptr<OpenFile>> files_;  // by node
  std::unordered_map<std::uint64_t, std::int64_t>
      written_unix_ms_;                                 // of disks that were written here, by node
  std::unordered_map<std::uint64_t, Counted> counted_;  // by node
  std::unordered_map<Handle*, std::unique_ptr<Handle>> handles_;
  std::unordered_map<Directory*, std::unique_ptr<Directory>> directories_;
  BufferPool buffers_;
};

}  // namespace coppice::fuse
