// SimMetaStore: the map's key-value store as a machine has it. Batches since the last synced one survive a
// power cut as a prefix, all of them a kill. The data outlives the processes that use it.
#pragma once

#include <cstdint>
#include <memory>
#include <vector>

#include "map/meta_store.h"
#include "rng.h"

namespace coppice::sim {

class SimMeta {
 public:
  SimMeta() : visible_(make_memory_meta_store()), durable_(make_memory_meta_store()) {}
  void power_cut(Rng& rng);
  // The directory is gone: empty, and open again.
  void lose();
  // What a process is given.
  std::unique_ptr<MetaStore> open();

 private:
  class Session;
  Result<> write(const MetaBatch& batch, bool sync);
  void make_durable(std::size_t batches);

  std::unique_ptr<MetaStore> visible_;
  std::unique_ptr<MetaStore> durable_;
  std::vector<MetaBatch> unsynced_;
};

}  // namespace coppice::sim
