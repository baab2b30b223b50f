// Ctrl-C while an image is copied: the first one calls the copy off and tidies up, a second one kills.
//
// The handlers are the process's; made by commands that copy, on the main thread, before the work starts.
#pragma once

namespace coppice::cli {

void call_off_on_interrupt();
[[nodiscard]] bool interrupted();

}  // namespace coppice::cli
