// How RocksDB is set up for the three families. No other room knows that it is RocksDB.
#pragma once

#include <rocksdb/db.h>
#include <rocksdb/options.h>

#include <string>
#include <vector>

namespace coppice {

rocksdb::DBOptions rocks_options(bool create);
// "default" (RocksDB insists on it), then ours.
std::vector<rocksdb::ColumnFamilyDescriptor> rocks_families();

}  // namespace coppice
