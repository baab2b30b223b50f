// Mounts: the mounted trees of one store, as many as are wanted.
//
// Each is served on the store's reactor until it is unmounted, from here or by umount(8). Lives on that
// thread; the store outlives it. Destroyed only after stop().
#pragma once

#include <functional>
#include <list>
#include <memory>
#include <string>
#include <vector>

#include "fuse/file_system.h"
#include "fuse/mount_record.h"
#include "fuse/session.h"

namespace coppice::fuse {

struct MountOptions {
  std::string directory;
  bool allow_other = false;
  Look look;
  // The kernel's end of a mount that another process made for itself, open as /dev/fuse, and that process;
  // taken. Then `directory` is empty.
  int made_by_other = -1;
  int other_process = 0;
};

class Mounts {
 public:
  using Log = std::function<void(const std::string&)>;
  // `store_folder` is what mounts are listed as; `recorded` says whether they may be written down in it.
  Mounts(Reactor& reactor, Store& store, std::string store_folder, bool recorded, Log log);

  // What a dead process of this store has left mounted.
  Task<void> clear_dead();
  // Answers the directory's true path. It is there when this returns. What another process made for itself
  // has no path: it is answered how it is called in the log, and ends with that process, or with stop().
  Task<Outcome<std::string>> mount(MountOptions options);
  // Waits for the requests in flight. `lazy`: also where files are in use; who has them open is cut off.
  Task<Outcome<std::string>> unmount(std::string directory, bool lazy);
  // Every one, as unmount(); those in use are cut off.
  Task<void> stop();

  [[nodiscard]] std::vector<std::string> directories() const;
  [[nodiscard]] bool empty() const { return mounted_.empty(); }
  // Called when the last one is gone.
  std::function<void()> on_last_gone{};
  // Logged behind the first mount.
  std::string caution{};

 private:
  struct Mounted {
    std::uint64_t number = 0;  // of all that there were
    bool ours = true;          // else another process has it
    std::string directory;
    std::unique_ptr<Session> session;
    std::unique_ptr<FileSystem> files;
  };
  Task<void> serve(std::list<Mounted>::iterator mounted);
  // The last on that directory: an older one may have lost its name, and still be in use.
  Mounted* find(const std::string& directory);
  Mounted* find(std::uint64_t number);
  Task<Outcome<>> detach_and_wait(std::string directory, bool lazy);
  Task<void> wait_until_gone(std::uint64_t number, bool cut_off);
  static Outcome<std::pair<std::string, std::unique_ptr<Session>>> make(const MountOptions& options,
                                                                        const std::string& source);
  void write_record() const { record_.write(directories()); }
  void log(const std::string& line) const {
    if (log_) log_(line);
  }

  Reactor& reactor_;
  Store& store_;
  std::string store_folder_;
  MountRecord record_;
  Log log_;
  std::list<Mounted> mounted_;
  std::uint64_t made_ = 0;
  AsyncMutex changing_;  // one verb at a time
  bool stopping_ = false;
};

}  // namespace coppice::fuse
