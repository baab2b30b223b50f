// What to paste into QEMU or libvirt to attach an export. Pure.
#pragma once

#include <string>

#include "nbd/endpoint.h"

namespace coppice::cli {

// A `-blockdev` argument, quoted for a shell. QEMU waits 30 s for a restarted daemon before the guest is
// told of an error.
std::string qemu_blockdev(const nbd::Endpoint& endpoint, const std::string& export_name, bool read_only);
// A <disk> element, to the same effect.
std::string libvirt_disk(const nbd::Endpoint& endpoint, const std::string& export_name, bool read_only);

}  // namespace coppice::cli
