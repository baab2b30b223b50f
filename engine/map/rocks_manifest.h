// How long RocksDB's manifest is, remembered in RocksDB itself.
//
// A manifest is a log: cut at the end of a record it is a valid older one, and RocksDB opens what it then
// says, without the tables added since, and deletes those. So each synced batch carries the manifest's name
// and length at that time, and a shorter one is refused, before anything is opened for writing.
#pragma once

#include <rocksdb/db.h>

#include <string>

namespace coppice {

inline constexpr const char* kManifestKey = "manifest";  // family "default"

// "NAME LENGTH" of the manifest in use; empty if that can't be learned.
std::string manifest_in_use(rocksdb::DB& db);
// The same of the one that an open would read.
std::string manifest_on_disk(const std::string& directory);
// What the two say of each other: `kOther`, not the same manifest, is what a crash in the middle of an open
// leaves, and a map from before this was remembered.
enum class ManifestAge : std::uint8_t { kWhole, kOther, kCut };
ManifestAge compare_manifests(const std::string& remembered, const std::string& on_disk);

}  // namespace coppice
