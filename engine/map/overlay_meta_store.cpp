// A MetaStore whose writes stay in memory, above one that is only read.
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <utility>

#include "map/meta_store.h"

namespace coppice {

namespace {

// What was written since: a value, or nothing where the key was erased. Ranges hide what stands below.
struct Layer {
  std::map<std::string, std::optional<std::string>, std::less<>> entries;
  std::vector<std::pair<std::string, std::string>> erased;

  [[nodiscard]] bool hides(std::string_view key) const {
    if (entries.find(key) != entries.end()) return true;
    for (const auto& [first, end] : erased) {
      if (first <= key && key < end) return true;
    }
    return false;
  }
};

// Walks both layers at once. The upper one is shared as it was; the store copies it before it changes it.
class OverlayIterator final : public MetaIterator {
 public:
  OverlayIterator(std::shared_ptr<const Layer> upper, std::unique_ptr<MetaIterator> lower, Reach reach)
      : upper_(std::move(upper)), lower_(std::move(lower)), reach_(reach), at_(upper_->entries.end()) {}

  void seek(std::string_view key) override {
    prefix_ = reach_ == Reach::kPrefix ? std::string(key.substr(0, kPrefixBytes)) : std::string();
    at_ = upper_->entries.lower_bound(key);
    lower_->seek(key);
    settle();
  }
  void next() override {
    if (on_upper()) {
      ++at_;
    } else {
      lower_->next();
    }
    settle();
  }
  [[nodiscard]] bool valid() const override { return upper_valid() || lower_->valid(); }
  [[nodiscard]] std::string_view key() const override {
    return on_upper() ? std::string_view(at_->first) : lower_->key();
  }
  [[nodiscard]] std::string_view value() const override {
    return on_upper() ? std::string_view(*at_->second) : lower_->value();
  }
  Result<> status() override { return lower_->status(); }

 private:
  [[nodiscard]] bool upper_valid() const {
    return at_ != upper_->entries.end() && std::string_view(at_->first).starts_with(prefix_);
  }
  [[nodiscard]] bool on_upper() const {
    return upper_valid() && (!lower_->valid() || std::string_view(at_->first) < lower_->key());
  }
  // Passes over what is erased above and hidden below; after it the two never stand on one key.
  void settle() {
    while (upper_valid() && !at_->second) ++at_;
    while (lower_->valid() && upper_->hides(lower_->key())) lower_->next();
  }

  std::shared_ptr<const Layer> upper_;
  std::unique_ptr<MetaIterator> lower_;
  Reach reach_;
  std::string prefix_;
  std::map<std::string, std::optional<std::string>, std::less<>>::const_iterator at_;
};

class OverlayMetaStore final : public MetaStore {
 public:
  explicit OverlayMetaStore(std::unique_ptr<MetaStore> lower) : lower_(std::move(lower)) {}

  [[nodiscard]] bool doubtful() const override { return lower_->doubtful(); }

  Result<std::optional<std::string>> get(Family family, std::string_view key) override {
    const std::lock_guard lock(mutex_);
    return find(family, key);
  }

  Result<> write(const MetaBatch& batch, bool) override {
    const std::lock_guard lock(mutex_);
    for (const auto& operation : batch) {
      auto applied = apply(operation);
      if (!applied) return applied;
    }
    return {};
  }

  std::unique_ptr<MetaIterator> iterate(Family family, Reach reach) override {
    const std::lock_guard lock(mutex_);
    return std::make_unique<OverlayIterator>(layer(family), lower_->iterate(family, reach), reach);
  }

 private:
  std::shared_ptr<Layer>& layer(Family family) { return layers_[static_cast<std::size_t>(family)]; }

  Result<std::optional<std::string>> find(Family family, std::string_view key) {
    const Layer& upper = *layer(family);
    const auto at = upper.entries.find(key);
    if (at != upper.entries.end()) return at->second;
    if (upper.hides(key)) return std::nullopt;
    return lower_->get(family, key);
  }

  Result<> apply(const MetaBatch::Operation& operation) {
    using Kind = MetaBatch::Operation::Kind;
    auto& upper = layer(operation.family);
    if (upper.use_count() > 1) upper = std::make_shared<Layer>(*upper);
    const std::string key(operation.key);
    if (operation.kind == Kind::kPut) upper->entries[key] = operation.value;
    if (operation.kind == Kind::kErase) upper->entries[key] = std::nullopt;
    if (operation.kind == Kind::kEraseRange && operation.key < operation.value) {
      upper->entries.erase(upper->entries.lower_bound(operation.key),
                           upper->entries.lower_bound(operation.value));
      upper->erased.emplace_back(operation.key, operation.value);
    }
    if (operation.kind != Kind::kMergeOr) return {};
    auto stored = find(operation.family, key);
    if (!stored) return std::unexpected(stored.error());
    std::string merged(operation.value);
    if (*stored && (*stored)->size() == merged.size()) {
      for (std::size_t i = 0; i < merged.size(); ++i) {
        merged[i] = static_cast<char>(merged[i] | (**stored)[i]);
      }
    }
    upper->entries[key] = std::move(merged);
    return {};
  }

  std::mutex mutex_;
  std::unique_ptr<MetaStore> lower_;
  std::shared_ptr<Layer> layers_[3] = {std::make_shared<Layer>(), std::make_shared<Layer>(),
                                       std::make_shared<Layer>()};
};

}  // namespace

std::unique_ptr<MetaStore> make_overlay_meta_store(std::unique_ptr<MetaStore> lower) {
  return std::make_unique<OverlayMetaStore>(std::move(lower));
}

}  // namespace coppice
