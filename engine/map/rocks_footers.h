// The ends of RocksDB's table files, looked at before RocksDB does.
//
// A table's footer names two blocks by offset and size, and has no checksum: RocksDB takes memory for
// whatever size stands there, on a thread of its own, and the process dies if that much is not to be had.
#pragma once

#include <string>

namespace coppice {

// The path of a table whose footer names a block that does not fit into the file; empty if none does. Files
// that are no tables at all are left to RocksDB.
std::string table_with_bad_footer(const std::string& directory);

}  // namespace coppice
