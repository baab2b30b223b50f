#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <utility>

#include "map/meta_store.h"

namespace coppice {

namespace {

using Table = std::map<std::string, std::string, std::less<>>;

// Shares the table it was made of; the store copies it before it changes it.
class MemoryIterator final : public MetaIterator {
 public:
  MemoryIterator(std::shared_ptr<const Table> table, Reach reach)
      : table_(std::move(table)), reach_(reach), at_(table_->end()) {}
  void seek(std::string_view key) override {
    prefix_ = reach_ == Reach::kPrefix ? std::string(key.substr(0, kPrefixBytes)) : std::string();
    at_ = table_->lower_bound(key);
  }
  void next() override { ++at_; }
  [[nodiscard]] bool valid() const override {
    return at_ != table_->end() && std::string_view(at_->first).starts_with(prefix_);
  }
  [[nodiscard]] std::string_view key() const override { return at_->first; }
  [[nodiscard]] std::string_view value() const override { return at_->second; }
  Result<> status() override { return {}; }

 private:
  std::shared_ptr<const Table> table_;
  Reach reach_;
  std::string prefix_;
  Table::const_iterator at_;
};

void merge_or(std::string& into, std::string_view operand) {
  if (into.size() != operand.size()) {
    into = operand;
    return;
  }
  for (std::size_t i = 0; i < into.size(); ++i) into[i] = static_cast<char>(into[i] | operand[i]);
}

void apply(Table& table, const MetaBatch::Operation& operation) {
  using Kind = MetaBatch::Operation::Kind;
  switch (operation.kind) {
    case Kind::kPut:
      table[std::string(operation.key)] = operation.value;
      return;
    case Kind::kErase:
      if (const auto at = table.find(operation.key); at != table.end()) table.erase(at);
      return;
    case Kind::kEraseRange:
      if (operation.key < operation.value) {
        table.erase(table.lower_bound(operation.key), table.lower_bound(operation.value));
      }
      return;
    case Kind::kMergeOr:
      merge_or(table[std::string(operation.key)], operation.value);
      return;
  }
}

class MemoryMetaStore final : public MetaStore {
 public:
  Result<std::optional<std::string>> get(Family family, std::string_view key) override {
    const std::lock_guard lock(mutex_);
    const Table& table = *table_of(family);
    const auto at = table.find(key);
    if (at == table.end()) return std::nullopt;
    return at->second;
  }

  Result<> write(const MetaBatch& batch, bool) override {
    const std::lock_guard lock(mutex_);
    for (const auto& operation : batch) {
      auto& table = table_of(operation.family);
      if (table.use_count() > 1) table = std::make_shared<Table>(*table);
      apply(*table, operation);
    }
    return {};
  }

  std::unique_ptr<MetaIterator> iterate(Family family, Reach reach) override {
    const std::lock_guard lock(mutex_);
    return std::make_unique<MemoryIterator>(table_of(family), reach);
  }

 private:
  std::shared_ptr<Table>& table_of(Family family) { return tables_[static_cast<std::size_t>(family)]; }

  std::mutex mutex_;
  std::shared_ptr<Table> tables_[3] = {std::make_shared<Table>(), std::make_shared<Table>(),
                                       std::make_shared<Table>()};
};

}  // namespace

std::unique_ptr<MetaStore> make_memory_meta_store() {
  return std::make_unique<MemoryMetaStore>();
}

}  // namespace coppice
