// What RocksDB's manifest holds, remembered in RocksDB itself.
//
// A manifest is a log that tolerates a torn end: cut, or with a length in it damaged, it is a valid older
// one, and RocksDB opens what that says, without the tables added since, and deletes those. So each synced
// batch carries the manifest's name, length and hash at that time, and one that does not begin so is refused
// before anything is opened for writing.
#pragma once

#include <rocksdb/db.h>

#include <string>

namespace coppice {

inline constexpr const char* kManifestKey = "manifest";  // family "default"

// "NAME LENGTH HASH" of the manifest in use; empty if that can't be learned.
std::string manifest_in_use(rocksdb::DB& db);
// What the manifest that an open would read is to the one remembered. kOther, another file, is what a crash
// in the middle of an open leaves, and a map from before this was remembered.
enum class ManifestAge : std::uint8_t { kWhole, kOther, kDamaged };
ManifestAge judge_manifest(const std::string& directory, const std::string& remembered);

}  // namespace coppice
