// How RocksDB is set up for the three families. No other room knows that it is RocksDB.
#pragma once

#include <rocksdb/db.h>
#include <rocksdb/options.h>

#include <string>
#include <vector>

namespace coppice {

// `small`: it has to make do with little space.
rocksdb::DBOptions rocks_options(bool create, bool small);
// "default" (RocksDB insists on it), then ours.
std::vector<rocksdb::ColumnFamilyDescriptor> rocks_families(bool small);

}  // namespace coppice
