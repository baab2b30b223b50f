// Makes a disk out of a raw image.
//
// The disk comes into being under a name of its own ("importing:NAME:…") and takes the wanted name when it
// is complete and durable: a disk of that name is never half an image, whatever kills the import. One that
// fails removes what it made. Lives on the reactor's thread; store and descriptor outlive the task.
#pragma once

#include <string>

#include "coppice/reactor.h"
#include "coppice/store.h"
#include "formats/transfer.h"

namespace coppice::formats {

struct ImportJob {
  int descriptor = -1;  // borrowed, open for reading
  bool as_stream = false;
  bool surely_raw = false;  // whatever it looks like
  std::string disk;
  TransferHooks hooks;
};

// Answers the size of the disk: the image's, rounded up to a sector.
Task<Outcome<std::uint64_t>> import_image(Reactor& reactor, Store& store, ImportJob job);

}  // namespace coppice::formats
