// A file system of a disk's image, mounted read-only by libguestfs: in a small virtual machine, which needs
// no rights and knows what this kernel does not (NTFS, LVM). Slow to start where there is no KVM.
#pragma once

#include <sys/types.h>

#include <string>

#include "cli/files/volumes.h"
#include "cli/unique_fd.h"
#include "coppice/result.h"

namespace coppice::cli {

class GuestMount {
 public:
  // `image` is an absolute path, for libguestfs takes no other; the mount stands in a folder of its own in
  // `place`. `device` is what libguestfs calls the volume: /dev/sda2, /dev/vg/lv.
  static Outcome<GuestMount> make(const std::string& image, const std::string& device,
                                  const std::string& place);
  GuestMount(GuestMount&& other) noexcept
      : root_(std::move(other.root_)), child_(std::exchange(other.child_, 0)) {}
  GuestMount& operator=(GuestMount&&) = delete;
  ~GuestMount();

  [[nodiscard]] int root() const { return root_.get(); }

 private:
  GuestMount(UniqueFd root, pid_t child) : root_(std::move(root)), child_(child) {}

  UniqueFd root_;
  pid_t child_;
};

std::string guest_device_of(const Volume& volume);
// What libguestfs finds in the image, volumes of LVM too: a line each, "/dev/vg/lv: ext4".
Outcome<> list_by_guest(const std::string& image);

}  // namespace coppice::cli
