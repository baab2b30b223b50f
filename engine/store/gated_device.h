// GatedDevice: a disk's head as an attachment sees it: what writes asks the gate first.
//
// The gate outlives it. Threads: the store's scheduler.
#pragma once

#include <memory>

#include "coppice/block_device.h"
#include "store/attachment_gate.h"

namespace coppice {

std::unique_ptr<BlockDevice> make_gated_device(std::unique_ptr<BlockDevice> disk, AttachmentGate& gate,
                                               AttachmentGate::Pass pass);

}  // namespace coppice
