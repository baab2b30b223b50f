#include "fuse/open_file.h"

#include "fuse/scratch_device.h"

namespace coppice::fuse {

Task<void> OpenFile::wait_to_enter() {
  while (closed_) co_await changed_.wait();
  ++inside_;
}

void OpenFile::leave() {
  if (--inside_ == 0 && closed_) changed_.wake_all();
}

Task<void> OpenFile::empty_out() {
  closed_ = true;
  while (inside_ != 0) co_await changed_.wait();
}

void OpenFile::let_in() {
  closed_ = false;
  changed_.wake_all();
}

// Puts a new device in the place of the old one, which goes only when the new one is there: nobody can remove
// the disk, or roll it back, in between.
Task<Outcome<>> OpenFile::attach(Access access) {
  auto spec = co_await name_();
  if (!spec) co_return refuse(ErrorKind::kNotFound, "the file is not there any more");
  if (scratch_) access = Access::kReadOnly;
  auto device = co_await store_.open_device(*spec, access, holder_);
  if (!device) co_return std::unexpected(device.error());
  if (scratch_) *device = std::make_unique<ScratchDevice>(std::move(*device));
  co_await empty_out();
  device_ = std::move(*device);
  let_in();
  co_return Outcome<>{};
}

Task<Outcome<>> OpenFile::open(Access access) {
  co_await changing_.lock();
  const bool enough = device_ != nullptr && (access == Access::kReadOnly || !device_->read_only());
  Outcome<> outcome;
  if (!enough) outcome = co_await attach(access == Access::kReadWrite ? access : wanted());
  if (outcome) ++(access == Access::kReadWrite ? writers_ : readers_);
  changing_.unlock();
  co_return outcome;
}

Task<void> OpenFile::close(Access access) {
  co_await changing_.lock();
  --(access == Access::kReadWrite ? writers_ : readers_);
  if (readers_ + writers_ == 0) {
    co_await empty_out();
    device_.reset();
    let_in();
  } else if (writers_ == 0 && !scratch_ && device_ != nullptr && !device_->read_only()) {
    // The last writer is gone: others may write. If it fails, they have to wait for the readers.
    const Outcome<> lowered = co_await attach(Access::kReadOnly);
    (void)lowered;
  }
  changing_.unlock();
}

Task<Outcome<>> OpenFile::resize(std::uint64_t size_bytes) {
  co_await changing_.lock();
  auto spec = co_await name_();
  Outcome<> outcome;
  if (!spec) {
    outcome = refuse(ErrorKind::kNotFound, "the file is not there any more");
  } else {
    co_await empty_out();
    // Only an unattached disk is resized. What was flushed before is durable, the rest is as durable as ever.
    device_.reset();
    outcome = co_await store_.resize(spec->disk, size_bytes);
    auto device = co_await store_.open_device(*spec, wanted(), holder_);
    if (device) device_ = std::move(*device);
    if (!device && outcome) outcome = std::unexpected(device.error());
    let_in();
  }
  changing_.unlock();
  co_return outcome;
}

}  // namespace coppice::fuse
