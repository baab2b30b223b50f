#include "nbd/store_exports.h"

#include "coppice/bytes.h"

namespace coppice::nbd {

namespace {

ExportInfo info_of(const NodeInfo& node, bool store_is_read_only) {
  const bool snapshot = node.kind == NodeInfo::Kind::kSnapshot;
  ExportInfo info{.name = snapshot ? node.disk + "@" + node.snapshot : node.disk,
                  .description = format_size(node.size_bytes),
                  .size_bytes = node.size_bytes,
                  .read_only = snapshot || store_is_read_only};
  info.description += snapshot ? " snapshot of " + node.disk : " disk";
  if (!node.note.empty()) info.description += ": " + node.note;
  return info;
}

Outcome<Spec> spec_of(const std::string& name) {
  if (name.empty()) {
    return refuse(ErrorKind::kInvalid,
                  "no export named: ask for a disk or disk@snapshot; nbdinfo --list URI shows them");
  }
  return parse_spec(name);
}

}  // namespace

Task<Outcome<std::vector<ExportInfo>>> StoreExports::list() {
  auto nodes = co_await store_.tree(std::nullopt);
  if (!nodes) co_return std::unexpected(nodes.error());
  std::vector<ExportInfo> exports;
  for (const NodeInfo& node : *nodes) {
    if (node.kind != NodeInfo::Kind::kDeleted) exports.push_back(info_of(node, !store_.read_only().empty()));
  }
  co_return exports;
}

Task<Outcome<ExportInfo>> StoreExports::describe(std::string name) {
  auto spec = spec_of(name);
  if (!spec) co_return std::unexpected(spec.error());
  auto node = co_await store_.info(*spec);
  if (!node) co_return std::unexpected(node.error());
  co_return info_of(*node, !store_.read_only().empty());
}

Task<Outcome<std::unique_ptr<BlockDevice>>> StoreExports::open(std::string name, Holder holder) {
  auto spec = spec_of(name);
  if (!spec) co_return std::unexpected(spec.error());
  const bool reads = spec->is_snapshot() || !store_.read_only().empty();
  const Access access = reads ? Access::kReadOnly : Access::kReadWrite;
  auto device = co_await store_.open_device(*spec, access, holder);
  co_return device;
}

}  // namespace coppice::nbd
