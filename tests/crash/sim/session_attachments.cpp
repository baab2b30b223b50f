// Writers that take over from one another: what was fenced stays so, whatever a crash took away, and no epoch
// comes again.
#include <fmt/format.h>

#include <algorithm>

#include "coppice/aligned_buffer.h"
#include "session.h"

namespace coppice::sim {

// The owner of an attachment, with its device.
struct Session::Writer {
  std::uint64_t epoch = 0;
  std::unique_ptr<BlockDevice> device;
  std::uint64_t running = 0;
};

Task<void> Session::verb_attach(Rng& rng) {
  const std::string name = pick_disk(rng);
  if (name.empty()) co_return;
  co_await pause(name);
  co_await hand_over(*shared_.oracle.disks[name], rng);
  if (shared_.violation.empty() && !fault()) co_await settle_attachments();
  if (shared_.violation.empty() && !fault()) co_await resume(name);
}

// The source writes, the target reads, then writes as well: the source must not get in behind that.
Task<void> Session::hand_over(DiskModel& disk, Rng& rng) {
  std::vector<Writer> writers(2);
  for (const bool incoming : {false, true}) {
    const AttachOptions options{.incoming = incoming};
    auto made = co_await process_.store->attach(disk.name, options);
    if (!made) {
      failed_rightly(made.error(), "attach");
      co_return;
    }
    if (made->epoch <= disk.last_epoch) shared_.violate("an attachment's epoch came again");
    disk.last_epoch = made->epoch;
    const Holder holder{"writer"};
    auto device = co_await process_.store->open_attachment(disk.name, made->token, holder);
    if (!device) {
      if (!fault()) shared_.violate("an attachment can't be opened: " + device.error().message);
      co_return;
    }
    writers[incoming ? 1 : 0] = {made->epoch, std::move(*device), 0};
  }
  Writer& source = writers[0];
  Writer& target = writers[1];
  for (std::uint64_t left = rng.between(1, 4); left > 0; --left) {
    ++source.running;
    spawn(write_as(disk, source, rng));
  }
  co_await sleep_for(process_.scheduler, std::chrono::microseconds(rng.between(1, 300)));
  for (std::uint64_t left = rng.between(0, 4); left > 0; --left) {
    ++target.running;
    spawn(write_as(disk, target, rng));
  }
  co_await sleep_for(process_.scheduler, std::chrono::microseconds(rng.between(1, 2000)));
  ++source.running;
  spawn(write_as(disk, source, rng));
  while (source.running + target.running != 0)
    co_await sleep_for(process_.scheduler, std::chrono::microseconds(50));
}

Task<void> Session::write_as(DiskModel& disk, Writer& writer, Rng& rng) {
  const std::uint64_t first = 8 * rng.below(std::max<std::uint64_t>(disk.size_bytes / kBlockBytes, 1));
  const std::uint64_t count = std::min<std::uint64_t>(8, disk.size_bytes / kSectorBytes - first);
  std::vector<Value> values(count);
  AlignedBuffer data(kBlockBytes);
  for (std::uint64_t i = 0; i < count; ++i) {
    values[i] = shared_.oracle.new_value();
    fill_sector(data.span().subspan(i * kSectorBytes, kSectorBytes), values[i]);
  }
  const bool fenced_before = disk.writer_epoch > writer.epoch;
  Write* write = shared_.oracle.begin_write(disk, first, count, values, false);
  const std::span<const std::byte> bytes = data.first(count * kSectorBytes);
  auto written = co_await writer.device->write(first * kSectorBytes, bytes, WriteFlags{});
  shared_.oracle.end_write(disk, *write, first, count, written.has_value());
  const bool refused = !written && written.error().kind == ErrorKind::kBusy;
  if (!written && !refused) refuse_error("a write of an attachment", written.error());
  if (written && fenced_before) shared_.violate("a fenced attachment of " + disk.name + " wrote");
  if (written) disk.writer_epoch = std::max(disk.writer_epoch, writer.epoch);
  --writer.running;
}

// Whoever was fenced still is. All of them end, so that clients without an attachment may write again.
Task<void> Session::settle_attachments() {
  for (auto& [name, disk] : shared_.oracle.disks) {
    auto all = co_await process_.store->attachments(name);
    if (!all) {
      shared_.violate("attachments: " + all.error().message);
      co_return;
    }
    for (const AttachmentInfo& each : *all) {
      if (each.state != AttachmentInfo::State::kFenced && each.epoch < disk->writer_epoch)
        shared_.violate(fmt::format("{}: epoch {} was fenced, and may write again", name, each.epoch));
    }
    if (all->empty()) continue;
    auto done = co_await process_.store->detach_all(name);
    if (!done && !fault()) shared_.violate("detach: " + done.error().message);
    if (!done) co_return;
  }
}

}  // namespace coppice::sim
