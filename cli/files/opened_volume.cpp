#include "cli/files/opened_volume.h"

#include "cli/files/child.h"
#include "cli/files/loop_mount.h"

namespace coppice::cli {
namespace {

// Why the loop engine does not do it; empty: it may.
std::string not_by_loop(const Wanted& wanted) {
  if (wanted.engine == "guestfs" || !wanted.device.empty()) return "not asked for";
  return is_root() ? "" : "loop devices need root";
}

}  // namespace

Outcome<> check_wanted(const Wanted& wanted) {
  if (wanted.engine != "auto" && wanted.engine != "loop" && wanted.engine != "guestfs")
    return refuse(ErrorKind::kInvalid, "--engine " + wanted.engine + ": give loop, guestfs or auto");
  if (wanted.engine == "loop" && !wanted.device.empty())
    return refuse(ErrorKind::kInvalid, "--device is a name of libguestfs's: leave out --engine loop");
  return {};
}

Outcome<OpenedVolume> open_volume(OwnTree& tree, const Spec& snapshot, const Wanted& wanted,
                                  const std::string& store) {
  auto image = tree.open(snapshot);
  if (!image) return std::unexpected(image.error());
  OpenedVolume opened{.image = std::move(*image), .volume = {}, .guest = {}, .loop = {}};
  std::string device = wanted.device;
  if (device.empty()) {
    auto volumes = find_volumes(opened.image.get());
    if (!volumes) return std::unexpected(volumes.error());
    auto chosen = choose_volume(*volumes, wanted.partition, snapshot.text());
    if (!chosen) return std::unexpected(chosen.error());
    opened.volume = *chosen;
    device = guest_device_of(*chosen);
    if (!opened.volume.file_system)
      return refuse(ErrorKind::kUnsupported,
                    "partition " + std::to_string(opened.volume.partition) + " of " + snapshot.text() +
                        " holds " +
                        (opened.volume.type.empty() ? "nothing that is known" : opened.volume.type) +
                        ", no file system: 'coppice files ls " + snapshot.text() + "' lists what there is");
  }
  const std::string why_not = not_by_loop(wanted);
  if (why_not.empty()) {
    auto loop = mount_by_loop(opened.image.get(), opened.volume);
    if (loop) {
      opened.loop = std::move(*loop);
      return opened;
    }
    if (wanted.engine == "loop" || loop.error().kind != ErrorKind::kUnsupported)
      return refuse(loop.error().kind, snapshot.text() + ": " + loop.error().message);
  } else if (wanted.engine == "loop") {
    return refuse(ErrorKind::kUnsupported, "--engine loop: " + why_not);
  }
  auto shown = tree.show_at(store);
  if (!shown) return std::unexpected(shown.error());
  auto guest = GuestMount::make(tree.path_of(snapshot), device, store);
  if (!guest) return refuse(guest.error().kind, snapshot.text() + ": " + guest.error().message);
  opened.guest.emplace(std::move(*guest));
  return opened;
}

}  // namespace coppice::cli
