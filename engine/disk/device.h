// The BlockDevices that the store hands out: a disk's head, read and write, and a snapshot, read only.
//
// They cut any byte range into whole blocks; partial blocks are read, changed and written under the range
// lock. Threads: the store's scheduler.
#pragma once

#include <functional>
#include <memory>

#include "coppice/block_device.h"
#include "disk/head.h"
#include "disk/layers.h"

namespace coppice {

// `on_close` runs when the device is destroyed.
std::unique_ptr<BlockDevice> make_head_device(Parts& parts, std::shared_ptr<Head> head,
                                              std::uint64_t size_bytes, bool read_only,
                                              std::function<void()> on_close);
std::unique_ptr<BlockDevice> make_snapshot_device(Parts& parts, NodeId node, std::function<void()> on_close);

// What covers a range, as seen from a view. Without `layers`, which live as long as the task, all that is
// allocated has depth 1.
Task<Result<>> list_extents(Parts& parts, View view, std::uint64_t offset_bytes, std::uint64_t length_bytes,
                            std::size_t max_extents, std::vector<Extent>& into,
                            const Layers* layers = nullptr);

}  // namespace coppice
