// The store's directory: what belongs to it, and the small file that names its pools.
//
//   store.json   {"format": 1, "store": UUID, "pools": [paths]}   written last by init, never changed since
//   map/         RocksDB       staging   the staging file       pool   the default pool
//   reserve      space for the map when the file system is full (map/space_reserve.h)
//   control.sock, nbd.sock     the daemon's
#pragma once

#include <string>
#include <vector>

#include "base/uuid.h"
#include "coppice/result.h"

namespace coppice {

struct StoreDirectory {
  std::string path;
  Uuid store;
  std::vector<std::string> pools;  // in the order of the members; absolute once read

  [[nodiscard]] std::string map_path() const { return path + "/map"; }
  [[nodiscard]] std::string staging_path() const { return path + "/staging"; }
  [[nodiscard]] std::string reserve_path() const { return path + "/reserve"; }
};

// What to do about a map that is lost or damaged.
std::string map_remedy(bool pool_has_copy);

Outcome<StoreDirectory> read_store_directory(const std::string& path);
// Atomic and durable: the store exists from then on.
Outcome<> write_store_directory(const StoreDirectory& directory);
bool store_exists(const std::string& path);

}  // namespace coppice
