#include "formats/import_image.h"

#include <cstdio>
#include <random>

#include "coppice/types.h"
#include "formats/image_file.h"
#include "formats/raw/raw_reader.h"
#include "formats/raw/raw_stream.h"

namespace coppice::formats {
namespace {

constexpr std::size_t kLongestKeptName = 200;

std::string name_under_way(const std::string& disk) {
  std::random_device random;
  char suffix[16];
  std::snprintf(suffix, sizeof suffix, ":%08x", static_cast<unsigned>(random()));
  return "importing:" + disk.substr(0, kLongestKeptName) + suffix;
}

std::unexpected<Failure> refuse_empty() {
  return refuse(ErrorKind::kInvalid, "the image is empty: a disk needs at least one byte");
}

class Import {
 public:
  Import(Reactor& reactor, Store& store, const ImportJob& job)
      : reactor_(reactor), store_(store), job_(job), name_(name_under_way(job.disk)) {}

  Task<Outcome<std::uint64_t>> run();

 private:
  Task<Outcome<>> refuse_existing();
  Task<Outcome<>> fill();
  Task<Outcome<>> fill_from_file(ImageFile image);
  Task<Outcome<>> fill_from_stream();
  Task<Outcome<>> store_window(RawStream& stream, std::uint64_t offset_bytes, std::uint64_t end_bytes);
  Task<Outcome<>> grow_to(std::uint64_t size_bytes);
  Task<Outcome<std::unique_ptr<BlockDevice>>> open();

  Reactor& reactor_;
  Store& store_;
  const ImportJob& job_;
  std::string name_;              // while under way
  std::uint64_t size_bytes_ = 0;  // 0: not made yet
};

Task<Outcome<std::uint64_t>> Import::run() {
  auto free = co_await refuse_existing();
  if (!free) co_return std::unexpected(free.error());
  auto outcome = co_await fill();
  // A stream ends the same way when its writer is done and when it was killed; only who asked knows.
  if (outcome && !job_.hooks.still_wanted()) outcome = refuse(ErrorKind::kBusy, "the import was called off");
  if (outcome) outcome = co_await store_.rename(Spec{name_, {}}, job_.disk);
  if (outcome) co_return size_bytes_;
  if (size_bytes_ != 0) {
    std::vector<Spec> made{Spec{name_, {}}};
    auto removed = co_await store_.remove(made, false);
    if (!removed) outcome.error().message += " (and disk " + name_ + " could not be removed: rm it)";
  }
  co_return std::unexpected(outcome.error());
}

Task<Outcome<>> Import::refuse_existing() {
  auto found = co_await store_.info(Spec{job_.disk, {}});
  if (found) {
    co_return refuse(ErrorKind::kExists,
                     "disk " + job_.disk + " exists: import under another name, or rm it first");
  }
  if (found.error().kind != ErrorKind::kNotFound) co_return std::unexpected(found.error());
  co_return Outcome<>{};
}

Task<Outcome<>> Import::fill() {
  auto image = examine(job_.descriptor, job_.as_stream);
  if (!image) co_return std::unexpected(image.error());
  if (image->kind == ImageKind::kStream) {
    auto filled = co_await fill_from_stream();
    co_return filled;
  }
  auto filled = co_await fill_from_file(*image);
  co_return filled;
}

Task<Outcome<>> Import::fill_from_file(ImageFile image) {
  if (image.size_bytes == 0) co_return refuse_empty();
  auto made = co_await grow_to(image.size_bytes);
  if (!made) co_return made;
  auto device = co_await open();
  if (!device) co_return std::unexpected(device.error());
  RawReader reader(reactor_, image, job_.hooks);
  auto copied = co_await reader.copy_to(**device, job_.disk);
  if (!copied) co_return copied;
  auto flushed = co_await (*device)->flush();
  if (!flushed) co_return refuse(flushed.error(), "disk " + job_.disk);
  co_return Outcome<>{};
}

// How long the stream is shows at its end only: the disk grows with it.
Task<Outcome<>> Import::fill_from_stream() {
  RawStream stream(reactor_, job_.descriptor);
  std::uint64_t offset = 0;
  while (true) {
    auto got = co_await stream.fill();
    if (!got) co_return std::unexpected(got.error());
    if (*got == 0) break;
    if (offset == 0 && !job_.surely_raw) {
      auto raw = refuse_foreign(stream.head());
      if (!raw) co_return raw;
    }
    if (!job_.hooks.still_wanted()) co_return refuse(ErrorKind::kBusy, "the import was called off");
    auto stored = co_await store_window(stream, offset, offset + *got);
    if (!stored) co_return stored;
    offset += *got;
    job_.hooks.report(offset, 0);
  }
  if (offset == 0) co_return refuse_empty();
  co_return Outcome<>{};
}

Task<Outcome<>> Import::store_window(RawStream& stream, std::uint64_t offset_bytes, std::uint64_t end_bytes) {
  auto grown = co_await grow_to(end_bytes);
  if (!grown) co_return grown;
  auto device = co_await open();
  if (!device) co_return std::unexpected(device.error());
  auto stored = co_await stream.store(**device, job_.disk, offset_bytes);
  if (!stored) co_return stored;
  auto flushed = co_await (*device)->flush();
  if (!flushed) co_return refuse(flushed.error(), "disk " + job_.disk);
  co_return Outcome<>{};
}

Task<Outcome<>> Import::grow_to(std::uint64_t size_bytes) {
  const std::uint64_t size = round_up(size_bytes, kSectorBytes);
  if (size_bytes_ == 0) {
    auto made = co_await store_.create_disk(name_, size);
    if (made) size_bytes_ = size;
    co_return made;
  }
  auto grown = co_await store_.resize(name_, size);
  if (grown) size_bytes_ = size;
  co_return grown;
}

Task<Outcome<std::unique_ptr<BlockDevice>>> Import::open() {
  auto device = co_await store_.open_device(Spec{name_, {}}, Access::kReadWrite, Holder{"an import"});
  co_return device;
}

}  // namespace

Task<Outcome<std::uint64_t>> import_image(Reactor& reactor, Store& store, ImportJob job) {
  Import import(reactor, store, job);
  auto size = co_await import.run();
  co_return size;
}

}  // namespace coppice::formats
