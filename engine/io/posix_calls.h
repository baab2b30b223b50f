// System calls made by hand for the backend without io_uring. Each returns what the call returned, or -errno.
#pragma once

#include <cstdint>

#include "coppice/reactor.h"

namespace coppice {

// Whether the call waits for a device and nothing can tell when it won't: it belongs on a thread of its own.
bool blocks_on_device(const SystemCall& call);
// One of those. Blocks.
std::int32_t perform_blocking(const SystemCall& call);

// The events of poll(2) after which any other call can be made.
short events_before(const SystemCall& call);
// Such a call, without waiting: -EAGAIN if it would have to.
std::int32_t perform_ready(const SystemCall& call);

}  // namespace coppice
