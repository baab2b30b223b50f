// What a store is like now, as metrics: Prometheus' text exposition format, version 0.0.4
// (https://prometheus.io/docs/instrumenting/exposition_formats/). Pure. Names and labels stay as they are.
#pragma once

#include <string>
#include <vector>

#include "coppice/store.h"

namespace coppice::cli {

struct MetricsSource {
  std::vector<NodeInfo> nodes;
  std::vector<PoolInfo> pools;
  std::vector<TrashInfo> trash;
  ReclaimInfo reclaim;
};

[[nodiscard]] std::string metrics_text(const MetricsSource& source);

}  // namespace coppice::cli
