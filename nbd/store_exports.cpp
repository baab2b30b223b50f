#include "nbd/store_exports.h"

#include <ranges>

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
    if (node.kind != NodeInfo::Kind::kDeleted && node.kind != NodeInfo::Kind::kChanges)
      exports.push_back(info_of(node, !store_.read_only().empty()));
  }
  co_return exports;
}

Task<Outcome<ExportInfo>> StoreExports::describe(std::string name) {
  auto spec = spec_of(name);
  if (!spec) co_return std::unexpected(spec.error());
  auto node = co_await store_.info(*spec);
  if (!node) co_return std::unexpected(node.error());
  if (node->kind == NodeInfo::Kind::kChanges)
    co_return refuse(ErrorKind::kInvalid,
                     name + " has no data any more, only what changed since: it is no export");
  co_return info_of(*node, !store_.read_only().empty());
}

Task<Outcome<std::vector<std::string>>> StoreExports::bases(std::string name, std::size_t most) {
  auto spec = spec_of(name);
  if (!spec) co_return std::unexpected(spec.error());
  auto nodes = co_await store_.tree(spec->disk);
  if (!nodes) co_return std::unexpected(nodes.error());
  std::vector<std::string> names;
  for (const NodeInfo& node : *nodes | std::views::reverse) {
    if (names.size() == most) break;
    const bool base = node.kind == NodeInfo::Kind::kSnapshot || node.kind == NodeInfo::Kind::kChanges;
    if (base && node.disk == spec->disk && node.snapshot != spec->snapshot) names.push_back(node.snapshot);
  }
  co_return names;
}

Task<bool> StoreExports::has_base(std::string base) {
  auto spec = spec_of(base);
  if (!spec) co_return false;
  const auto node = co_await store_.info(*spec);
  co_return node.has_value();
}

Task<Outcome<std::unique_ptr<BlockDevice>>> StoreExports::open_base(std::string base, Holder holder) {
  auto spec = spec_of(base);
  if (!spec) co_return std::unexpected(spec.error());
  auto device = co_await store_.open_device(*spec, Access::kBase, holder);
  co_return device;
}

Outcome<std::string> StoreExports::base_export(std::string name, std::string since) {
  auto spec = spec_of(name);
  if (!spec) return std::unexpected(spec.error());
  const bool bare = since.find('@') == std::string::npos;
  auto base = parse_spec(bare ? spec->disk + "@" + since : since);
  if (!base) return std::unexpected(base.error());
  return base->text();
}

Task<Outcome<std::vector<DiffRange>>> StoreExports::changes(std::string name, std::string since) {
  auto to = spec_of(name);
  if (!to) co_return std::unexpected(to.error());
  auto base = base_export(name, since);
  if (!base) co_return std::unexpected(base.error());
  auto from = parse_spec(*base);
  if (!from) co_return std::unexpected(from.error());
  auto found = co_await store_.diff(*from, *to, 0);
  co_return found;
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
