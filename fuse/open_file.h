// OpenFile: one disk or snapshot that somebody has open in the mounted tree.
//
// All who have it open share one device, which is attached for writing as long as one of them may write. A
// request enters before it uses the device and leaves behind; the device is exchanged (for one that writes,
// for one of another size) when nobody is inside, and who comes meanwhile waits. Lives on the reactor's
// thread; destroyed when nobody has it open and nobody is inside.
#pragma once

#include <functional>
#include <memory>
#include <optional>

#include "coppice/block_device.h"
#include "coppice/scheduler.h"
#include "coppice/store.h"

namespace coppice::fuse {

class OpenFile {
 public:
  // What the file is called now; nothing if it is not there any more.
  using Name = std::function<Task<std::optional<Spec>>()>;
  // `scratch`: a snapshot that may be written, see ScratchDevice.
  OpenFile(Scheduler& scheduler, Store& store, Name name, Holder holder, bool scratch = false)
      : store_(store),
        name_(std::move(name)),
        holder_(std::move(holder)),
        scratch_(scratch),
        changed_(scheduler),
        changing_(scheduler) {}

  // Adds one who has it open; on a failure nobody was added.
  Task<Outcome<>> open(Access access);
  Task<void> close(Access access);
  [[nodiscard]] bool in_use() const { return readers_ + writers_ + users_ != 0; }
  // Keeps it from being destroyed across what may wait.
  void pin() { ++users_; }
  void unpin() { --users_; }

  // For one request. False: wait_to_enter() then.
  bool try_enter() {
    if (closed_) return false;
    ++inside_;
    return true;
  }
  Task<void> wait_to_enter();
  void leave();
  // For who is inside; null if it was lost in a change that failed.
  [[nodiscard]] BlockDevice* device() const { return device_.get(); }

  // As the verb: refused while others than this file have the disk open.
  Task<Outcome<>> resize(std::uint64_t size_bytes);

  bool dirty = false;                // something was written since the last flush began
  std::int64_t written_unix_ms = 0;  // 0: not since it was opened

 private:
  [[nodiscard]] Access wanted() const { return writers_ != 0 ? Access::kReadWrite : Access::kReadOnly; }
  Task<Outcome<>> attach(Access access);
  Task<void> empty_out();
  void let_in();

  Store& store_;
  Name name_;
  Holder holder_;
  bool scratch_;
  std::unique_ptr<BlockDevice> device_;
  std::uint64_t readers_ = 0;
  std::uint64_t writers_ = 0;
  std::uint64_t users_ = 0;
  std::uint64_t inside_ = 0;
  bool closed_ = false;  // nobody may enter
  WaitQueue changed_;
  AsyncMutex changing_;
};

}  // namespace coppice::fuse
