#include "formats/export_image.h"

#include "formats/image_file.h"
#include "formats/raw/raw_writer.h"

namespace coppice::formats {

Task<Outcome<std::uint64_t>> export_image(Reactor& reactor, Store& store, ExportJob job) {
  auto image = examine(job.descriptor, job.as_stream);
  if (!image) co_return std::unexpected(image.error());
  auto device = co_await store.open_device(job.from, Access::kReadOnly, Holder{"an export"});
  if (!device) co_return std::unexpected(device.error());
  const std::string name = (job.from.is_snapshot() ? "snapshot " : "disk ") + job.from.text();
  RawWriter writer(reactor, **device, name, *image, job.hooks);
  auto copied = co_await writer.copy();
  if (!copied) co_return std::unexpected(copied.error());
  co_return (*device)->size_bytes();
}

}  // namespace coppice::formats
