#include "nbd/store_exports.h"

#include <algorithm>
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

// An attachment is of a disk, so what is asked of its content is asked of the disk.
Outcome<Spec> spec_of(const std::string& name) {
  auto parsed = parse_export_name(name);
  if (!parsed) return std::unexpected(parsed.error());
  return parsed->spec;
}

constexpr std::string_view kAttach = "/attach:";

}  // namespace

// No name holds a slash.
Outcome<ExportName> parse_export_name(const std::string& name) {
  if (name.empty()) {
    return refuse(ErrorKind::kInvalid,
                  "no export named: ask for a disk or disk@snapshot; nbdinfo --list URI shows them");
  }
  const auto slash = name.find('/');
  auto spec = parse_spec(name.substr(0, slash));
  if (!spec) return std::unexpected(spec.error());
  if (slash == std::string::npos) return ExportName{*spec, {}};
  const std::string token = name.substr(std::min(name.size(), slash + kAttach.size()));
  if (!name.substr(slash).starts_with(kAttach) || spec->is_snapshot() || !check_name(token)) {
    return refuse(ErrorKind::kInvalid,
                  "an export is DISK, DISK@SNAPSHOT or DISK/attach:TOKEN, as 'coppice "
                  "attach DISK' prints it");
  }
  return ExportName{*spec, token};
}

std::string attachment_export(const std::string& disk, const std::string& token) {
  return disk + std::string(kAttach) + token;
}

Task<bool> StoreExports::attached(std::string disk) {
  auto attachments = co_await store_.attachments(std::move(disk));
  co_return attachments&& std::ranges::any_of(
      *attachments, [](const AttachmentInfo& each) { return each.state != AttachmentInfo::State::kFenced; });
}

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
  auto parsed = parse_export_name(name);
  if (!parsed) co_return std::unexpected(parsed.error());
  auto node = co_await store_.info(parsed->spec);
  if (!node) co_return std::unexpected(node.error());
  if (node->kind == NodeInfo::Kind::kChanges) {
    co_return refuse(ErrorKind::kInvalid,
                     name + " has no data any more, only what changed since: it is no export");
  }
  ExportInfo info = info_of(*node, !store_.read_only().empty());
  info.name = name;
  info.one_client = !parsed->token.empty();
  if (info.one_client || info.read_only) co_return info;
  info.read_only = co_await attached(parsed->spec.disk);
  if (info.read_only) info.description += ", attached: read-only here";
  co_return info;
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
  auto parsed = parse_export_name(name);
  if (!parsed) co_return std::unexpected(parsed.error());
  const Spec spec = parsed->spec;
  if (!parsed->token.empty()) {
    auto device = co_await store_.open_attachment(spec.disk, parsed->token, holder);
    co_return device;
  }
  bool reads = spec.is_snapshot() || !store_.read_only().empty();
  if (!reads) reads = co_await attached(spec.disk);
  const Access access = reads ? Access::kReadOnly : Access::kReadWrite;
  auto device = co_await store_.open_device(spec, access, holder);
  co_return device;
}

Task<Outcome<std::unique_ptr<BlockDevice>>> StoreExports::open_read_only(std::string name, Holder holder) {
  auto parsed = parse_export_name(name);
  if (!parsed) co_return std::unexpected(parsed.error());
  // Opening an attachment has the client before leave, and its first write fences: that is no reader's
  // business.
  if (!parsed->token.empty())
    co_return refuse(ErrorKind::kReadOnly, name + " is the right to write, and cannot be opened read-only");
  auto device = co_await store_.open_device(parsed->spec, Access::kReadOnly, std::move(holder));
  co_return device;
}

}  // namespace coppice::nbd
