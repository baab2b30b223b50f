// The documents that `--json` prints and the control socket answers: one shape for both.
//
// Pure. Keys are stable: bytes are integers, times RFC 3339. docs/cli.md lists them.
#pragma once

#include <nlohmann/json.hpp>
#include <vector>

#include "coppice/store.h"

namespace coppice::cli {

using Json = nlohmann::json;

// Empty where the key is absent, or null.
[[nodiscard]] std::string text_of(const Json& document, const char* key);

// One line, whatever bytes a text in it holds.
[[nodiscard]] std::string to_line(const Json& document);

// {"id","parent","name","kind":"head|snapshot|deleted","disk","snapshot","size","created","note","clones",
//  "attachments","holds","expires","scheduled","group":{"id","taken"}|null,
//  "base":{"path","size","problem","flatten":{"running","copied","total","problem"}|null}|null}; parent 0 is
//  the root; a deleted node has no name.
[[nodiscard]] Json node_to_json(const NodeInfo& node);
// From a tree or a listing, where a head is called a disk.
[[nodiscard]] Outcome<NodeInfo> node_from_json(const Json& document);
[[nodiscard]] Outcome<std::vector<NodeInfo>> nodes_from_json(const Json& documents);

// {"nodes":[…],"heads":[{"disk","at","id"}]}: `at` is the node that the head continues from (0: none), `id`
// its own among the nodes.
[[nodiscard]] Json tree_to_json(const std::vector<NodeInfo>& nodes);
// [{"name","kind":"disk|snapshot","size","created",…}], a disk before its snapshots.
[[nodiscard]] Json listing_to_json(std::vector<NodeInfo> nodes);
// [{"name","size","snapshots","frees","removed","until"}]
[[nodiscard]] Json trash_to_json(const std::vector<TrashInfo>& disks);
// {"name","hourly","daily","weekly","monthly","next","snapshots":[{"name","created","kept_as"}],"removes","frees"}
[[nodiscard]] Json schedule_to_json(const std::string& disk, const ScheduleInfo& info);
// A time, or null for 0.
[[nodiscard]] Json time_or_null(std::int64_t unix_ms);
// [{"name","own","shared","frees"}]
[[nodiscard]] Json space_to_json(const std::vector<SpaceInfo>& spaces);
// [{"path","size","used","grows"}]
[[nodiscard]] Json pools_to_json(const std::vector<PoolInfo>& pools);
// {"nodes","looked","total"}
[[nodiscard]] Json reclaim_to_json(const ReclaimInfo& reclaim);
// [{"offset","length","zero"}]
[[nodiscard]] Json diff_to_json(const std::vector<DiffRange>& ranges);
// {"leaves","blocks","problems":[…]}
[[nodiscard]] Json check_to_json(const CheckReport& report);

}  // namespace coppice::cli
