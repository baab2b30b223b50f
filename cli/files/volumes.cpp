#include "cli/files/volumes.h"

#include <blkid/blkid.h>
#include <sys/stat.h>

#include <algorithm>
#include <memory>

namespace coppice::cli {
namespace {

constexpr std::uint64_t kSectorBytes = 512;

struct FreeProbe {
  void operator()(blkid_probe probe) const { blkid_free_probe(probe); }
};
using Probe = std::unique_ptr<std::remove_pointer_t<blkid_probe>, FreeProbe>;

Probe probe_of(int image, std::uint64_t offset_bytes, std::uint64_t length_bytes) {
  Probe probe(blkid_new_probe());
  const bool good =
      probe && blkid_probe_set_device(probe.get(), image, static_cast<blkid_loff_t>(offset_bytes),
                                      static_cast<blkid_loff_t>(length_bytes)) == 0;
  return good ? std::move(probe) : nullptr;
}

std::string value_of(const Probe& probe, const char* key) {
  const char* value = nullptr;
  const bool there = blkid_probe_lookup_value(probe.get(), key, &value, nullptr) == 0;
  return there && value != nullptr ? value : "";
}

void look_into(int image, Volume& volume) {
  const Probe probe = probe_of(image, volume.offset_bytes, volume.length_bytes);
  if (!probe) return;
  blkid_probe_enable_superblocks(probe.get(), 1);
  blkid_probe_set_superblocks_flags(
      probe.get(), BLKID_SUBLKS_TYPE | BLKID_SUBLKS_LABEL | BLKID_SUBLKS_UUID | BLKID_SUBLKS_USAGE);
  if (blkid_do_safeprobe(probe.get()) != 0) return;
  volume.type = value_of(probe, "TYPE");
  volume.label = value_of(probe, "LABEL");
  volume.uuid = value_of(probe, "UUID");
  volume.file_system = value_of(probe, "USAGE") == "filesystem";
}

std::vector<Volume> partitions_of(int image) {
  std::vector<Volume> all;
  const Probe probe = probe_of(image, 0, 0);
  blkid_partlist list = probe ? blkid_probe_get_partitions(probe.get()) : nullptr;
  const int count = list == nullptr ? 0 : blkid_partlist_numof_partitions(list);
  for (int index = 0; index < count; ++index) {
    blkid_partition partition = blkid_partlist_get_partition(list, index);
    if (blkid_partition_is_extended(partition) != 0) continue;
    all.push_back(
        {.partition = static_cast<unsigned>(blkid_partition_get_partno(partition)),
         .offset_bytes = static_cast<std::uint64_t>(blkid_partition_get_start(partition)) * kSectorBytes,
         .length_bytes = static_cast<std::uint64_t>(blkid_partition_get_size(partition)) * kSectorBytes});
  }
  return all;
}

}  // namespace

Outcome<std::vector<Volume>> find_volumes(int image) {
  struct stat status{};
  if (fstat(image, &status) != 0) return refuse(ErrorKind::kIo, "the snapshot's file has no size");
  std::vector<Volume> all = partitions_of(image);
  if (all.empty()) all.push_back({.length_bytes = static_cast<std::uint64_t>(status.st_size)});
  for (Volume& volume : all) look_into(image, volume);
  return all;
}

namespace {

bool is_lvm(const Volume& volume) {
  return volume.type == "LVM2_member";
}

std::string name_a_device(const std::string& disk) {
  return disk + " holds volumes of LVM: give --device /dev/GROUP/VOLUME, which 'coppice files ls " + disk +
         " --engine guestfs' lists";
}

}  // namespace

Outcome<Volume> choose_volume(const std::vector<Volume>& volumes, const std::string& number,
                              const std::string& disk) {
  if (!number.empty()) {
    const auto asked = std::ranges::find_if(
        volumes, [&](const Volume& volume) { return std::to_string(volume.partition) == number; });
    if (asked != volumes.end() && is_lvm(*asked)) return refuse(ErrorKind::kUnsupported, name_a_device(disk));
    if (asked != volumes.end()) return *asked;
    return refuse(ErrorKind::kNotFound, disk + " has no partition " + number + ": 'coppice files ls " + disk +
                                            "' lists what it has");
  }
  const Volume* largest = nullptr;
  for (const Volume& volume : volumes) {
    if (volume.file_system && (largest == nullptr || volume.length_bytes > largest->length_bytes))
      largest = &volume;
  }
  if (largest != nullptr) return *largest;
  if (std::ranges::any_of(volumes, is_lvm)) return refuse(ErrorKind::kNotFound, name_a_device(disk));
  return refuse(ErrorKind::kNotFound, disk + " holds no file system that is known: 'coppice files ls " +
                                          disk + "' lists what it holds");
}

}  // namespace coppice::cli
