// MetaBatch: operations on the MetaStore, in the form in which the pool's copy of the metadata holds them.
//
// Encoded as they come, one behind the other in one piece of memory, and read from there: a checkpoint of a
// disk under load has some ten thousand, on the thread that serves guests. The grammar stands in FORMAT.md.
// Pure.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string_view>
#include <vector>

namespace coppice {

// The numbers of families and kinds stand in pools: they never change.
enum class Family : std::uint8_t { kLeaf = 0, kChange = 1, kMeta = 2 };

class MetaBatch {
 public:
  struct Operation {
    enum class Kind : std::uint8_t { kPut, kErase, kEraseRange, kMergeOr } kind;
    Family family;
    std::string_view key;    // kEraseRange: first key
    std::string_view value;  // kEraseRange: the key behind the last; kErase: nothing
  };
  using Kind = Operation::Kind;

  void put(Family family, std::string_view key, std::string_view value) {
    add({Kind::kPut, family, key, value});
  }
  void erase(Family family, std::string_view key) { add({Kind::kErase, family, key, {}}); }
  // Bitwise or into what is stored (of the same length); a put when nothing is. Family kChange only.
  void merge_or(Family family, std::string_view key, std::string_view value) {
    add({Kind::kMergeOr, family, key, value});
  }
  // Whole branches only: reads slow down across range tombstones.
  void erase_range(Family family, std::string_view first, std::string_view end) {
    add({Kind::kEraseRange, family, first, end});
  }
  void add(const Operation& operation);
  // Keeps its memory.
  void clear() { encoded_.clear(); }

  [[nodiscard]] bool empty() const { return encoded_.empty(); }
  [[nodiscard]] std::size_t bytes() const { return encoded_.size(); }
  [[nodiscard]] std::span<const std::byte> encoded() const { return encoded_; }
  // Nothing where the bytes are not exactly a list of operations.
  static std::optional<MetaBatch> decode(std::span<const std::byte> encoded);

  // In order. What it gives points into the batch.
  class Iterator {
   public:
    explicit Iterator(std::span<const std::byte> rest) : rest_(rest) { read(); }
    const Operation& operator*() const { return operation_; }
    Iterator& operator++() {
      rest_ = rest_.subspan(size_);
      read();
      return *this;
    }
    bool operator==(const Iterator& other) const { return rest_.size() == other.rest_.size(); }

   private:
    void read();
    std::span<const std::byte> rest_;
    Operation operation_{};
    std::size_t size_ = 0;
  };
  [[nodiscard]] Iterator begin() const { return Iterator(encoded_); }
  [[nodiscard]] Iterator end() const { return Iterator(std::span(encoded_).last(0)); }

 private:
  std::vector<std::byte> encoded_;
};

}  // namespace coppice
