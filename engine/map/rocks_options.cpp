#include "map/rocks_options.h"

#include <rocksdb/cache.h>
#include <rocksdb/convenience.h>
#include <rocksdb/env.h>
#include <rocksdb/filter_policy.h>
#include <rocksdb/merge_operator.h>
#include <rocksdb/slice_transform.h>
#include <rocksdb/table.h>

#include <algorithm>
#include <memory>

#include "map/meta_store.h"

namespace coppice {

namespace {

constexpr std::size_t kWriteBufferBytes = std::size_t{16} << 20;
constexpr std::size_t kSmallWriteBufferBytes = std::size_t{3} << 20;
constexpr std::size_t kBlockCacheBytes = std::size_t{32} << 20;
constexpr std::size_t kTableBlockBytes = std::size_t{8} << 10;
constexpr double kFilterBitsPerKey = 10;

class OrMask final : public rocksdb::AssociativeMergeOperator {
 public:
  bool Merge(const rocksdb::Slice&, const rocksdb::Slice* existing, const rocksdb::Slice& operand,
             std::string* merged, rocksdb::Logger*) const override {
    *merged = operand.ToString();
    if (existing == nullptr || existing->size() != operand.size()) return true;
    for (std::size_t i = 0; i < merged->size(); ++i) {
      (*merged)[i] = static_cast<char>((*merged)[i] | (*existing)[i]);
    }
    return true;
  }
  // Stands in the files: never change it.
  [[nodiscard]] const char* Name() const override { return "coppice.or-mask"; }
};

rocksdb::CompressionType best_compression() {
  const auto have = rocksdb::GetSupportedCompressions();
  for (const auto type : {rocksdb::kLZ4Compression, rocksdb::kZSTD}) {
    if (std::ranges::find(have, type) != have.end()) return type;
  }
  return rocksdb::kNoCompression;
}

std::size_t write_buffer_bytes(bool small) {
  return small ? kSmallWriteBufferBytes : kWriteBufferBytes;
}

rocksdb::ColumnFamilyOptions family_options(const std::shared_ptr<rocksdb::Cache>& cache, bool small,
                                            bool prefix) {
  rocksdb::BlockBasedTableOptions table;
  table.block_cache = cache;
  table.block_size = kTableBlockBytes;
  table.cache_index_and_filter_blocks = true;
  table.pin_l0_filter_and_index_blocks_in_cache = true;
  table.format_version = 5;
  table.filter_policy.reset(rocksdb::NewRibbonFilterPolicy(kFilterBitsPerKey));
  table.whole_key_filtering = !prefix;

  rocksdb::ColumnFamilyOptions options;
  options.write_buffer_size = write_buffer_bytes(small);
  options.max_write_buffer_number = 3;
  options.compression = best_compression();
  if (prefix) {
    // A leaf that a branch doesn't have is the usual answer for clones: a filter gives it without a read.
    options.prefix_extractor.reset(rocksdb::NewFixedPrefixTransform(kPrefixBytes));
    options.memtable_prefix_bloom_size_ratio = 0.05;
  }
  options.table_factory.reset(rocksdb::NewBlockBasedTableFactory(table));
  return options;
}

}  // namespace

rocksdb::DBOptions rocks_options(bool create, bool small) {
  rocksdb::DBOptions options;
  options.create_if_missing = options.create_missing_column_families = options.error_if_exists = create;
  options.paranoid_checks = true;
  options.max_background_jobs = 2;
  options.max_manifest_file_size = std::size_t{4} << 20;  // read again with each checkpoint
  options.max_open_files = 256;
  options.db_write_buffer_size = 3 * write_buffer_bytes(small);  // of all families together
  options.max_total_wal_size = 4 * write_buffer_bytes(small);
  options.bytes_per_sync = 1 << 20;
  options.wal_bytes_per_sync = 1 << 20;
  options.info_log_level = rocksdb::WARN_LEVEL;
  options.max_log_file_size = 1 << 20;
  options.keep_log_file_num = 2;
  options.stats_dump_period_sec = 0;
  options.stats_persist_period_sec = 0;
  // Compaction gives way to the reactor.
  options.env->LowerThreadPoolCPUPriority(rocksdb::Env::Priority::LOW);
  return options;
}

std::vector<rocksdb::ColumnFamilyDescriptor> rocks_families(bool small) {
  const auto cache = rocksdb::NewLRUCache(kBlockCacheBytes);
  auto change = family_options(cache, small, false);
  change.merge_operator = std::make_shared<OrMask>();
  return {{rocksdb::kDefaultColumnFamilyName, family_options(cache, small, false)},
          {"leaf", family_options(cache, small, true)},
          {"change", change},
          {"meta", family_options(cache, small, false)}};
}

}  // namespace coppice
