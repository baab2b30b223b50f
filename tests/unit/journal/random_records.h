// Random journal records of every kind and of sizes from the smallest to a few KiB.
#pragma once

#include <random>

#include "layout/record.h"

namespace coppice::test {

class RandomRecords {
 public:
  explicit RandomRecords(std::uint64_t seed) : random_(seed) {}

  std::uint64_t below(std::uint64_t end) {
    return std::uniform_int_distribution<std::uint64_t>(0, end - 1)(random_);
  }
  bool one_in(std::uint64_t count) { return below(count) == 0; }

  Record next() {
    switch (below(8)) {
      case 0:
        return meta();
      case 1:
        return reclaim();
      case 2:
      case 3:
        return checksum();
      default:
        return map();
    }
  }
  MapRecord map() {
    MapRecord record;
    record.branch = BranchId{below(1000)};
    record.epoch = Epoch{below(100000)};
    record.first = BlockIndex{below(1 << 20)};
    record.count = length();
    if (!one_in(4)) {
      record.physical = run(record.count).first;
      record.checksums = numbers(record.count);
    }
    for (std::uint64_t i = below(4); i > 0; --i) record.freed.push_back(run(length()));
    return record;
  }
  ChecksumRecord checksum() {
    const PhysicalRun where = run(length());
    return {where.first, numbers(where.count)};
  }
  MetaRecord meta() {
    MetaRecord record;
    record.edits = edits();
    return record;
  }
  ReclaimRecord reclaim() {
    ReclaimRecord record;
    for (std::uint64_t i = below(5); i > 0; --i)
      record.versions.push_back({BranchId{below(9)}, LeafIndex{below(999)}, Epoch{below(99)}, random_()});
    for (std::uint64_t i = below(5); i > 0; --i) record.freed.push_back(run(length()));
    record.edits = edits();
    return record;
  }

 private:
  std::uint64_t length() { return one_in(10) ? 1 + below(900) : 1 + below(16); }
  PhysicalRun run(std::uint64_t count) { return {PhysicalBlock::of(below(3), 1 + below(1 << 24)), count}; }
  std::vector<std::uint32_t> numbers(std::uint64_t count) {
    std::vector<std::uint32_t> values(count);
    for (std::uint32_t& value : values) value = static_cast<std::uint32_t>(random_());
    return values;
  }
  std::string text(std::uint64_t max) {
    std::string value(below(max), 'x');
    for (char& letter : value) letter = static_cast<char>(below(256));
    return value;
  }
  std::vector<MetaEdit> edits() {
    std::vector<MetaEdit> values(below(4));
    for (MetaEdit& edit : values) {
      edit.key = text(40);
      edit.erase = one_in(3);
      if (!edit.erase) edit.value = text(200);
    }
    return values;
  }
  std::mt19937_64 random_;
};

}  // namespace coppice::test
