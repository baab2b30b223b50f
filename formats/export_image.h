// Writes a disk or snapshot out as a raw image.
//
// A disk that is being written gives a picture of no single moment: export a snapshot of it. Lives on the
// reactor's thread; store and descriptor outlive the task. Making the image durable and giving it its name
// is left to who opened it.
#pragma once

#include "coppice/reactor.h"
#include "coppice/store.h"
#include "formats/transfer.h"

namespace coppice::formats {

struct ExportJob {
  Spec from;
  int descriptor = -1;  // borrowed, open for writing
  bool as_stream = false;
  TransferHooks hooks;
};

// Answers the size of the image.
Task<Outcome<std::uint64_t>> export_image(Reactor& reactor, Store& store, ExportJob job);

}  // namespace coppice::formats
