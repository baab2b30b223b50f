#include "sim_meta.h"

#include <string>

namespace coppice::sim {

class SimMeta::Session final : public MetaStore {
 public:
  explicit Session(SimMeta& data) : data_(data) {}
  Result<std::optional<std::string>> get(Family family, std::string_view key) override {
    return data_.visible_->get(family, key);
  }
  Result<> write(const MetaBatch& batch, bool sync) override { return data_.write(batch, sync); }
  std::unique_ptr<MetaIterator> iterate(Family family, Reach reach) override {
    return data_.visible_->iterate(family, reach);
  }
  // Every other one has to be read.
  std::unique_ptr<MetaIterator> leaves_in_memory() override {
    in_memory_ = !in_memory_;
    return in_memory_ ? data_.visible_->iterate(Family::kLeaf, Reach::kPrefix) : nullptr;
  }

 private:
  SimMeta& data_;
  bool in_memory_ = false;
};

std::unique_ptr<MetaStore> SimMeta::open() {
  return std::make_unique<Session>(*this);
}

Result<> SimMeta::write(const MetaBatch& batch, bool sync) {
  unsynced_.push_back(batch);
  auto written = visible_->write(batch, sync);
  if (sync) make_durable(unsynced_.size());
  return written;
}

void SimMeta::make_durable(std::size_t batches) {
  for (std::size_t i = 0; i < batches; ++i) (void)durable_->write(unsynced_[i], true);
  unsynced_.clear();
}

void SimMeta::lose() {
  unsynced_.clear();
  visible_ = make_memory_meta_store();
  durable_ = make_memory_meta_store();
}

void SimMeta::power_cut(Rng& rng) {
  if (unsynced_.empty()) return;
  make_durable(rng.below(unsynced_.size() + 1));
  auto fresh = make_memory_meta_store();
  for (const Family family : {Family::kLeaf, Family::kChange, Family::kMeta}) {
    MetaBatch all;
    auto iterator = durable_->iterate(family, Reach::kAll);
    for (iterator->seek(""); iterator->valid(); iterator->next())
      all.put(family, std::string(iterator->key()), std::string(iterator->value()));
    (void)fresh->write(all, true);
  }
  visible_ = std::move(fresh);
}

}  // namespace coppice::sim
