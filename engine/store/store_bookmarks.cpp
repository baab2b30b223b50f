// Bookmarks: snapshots whose data was given up, and from which changes are still counted.
#include <fmt/format.h>

#include <algorithm>
#include <cerrno>

#include "store/store_impl.h"

namespace coppice {

namespace {

// What a client holds that compares with a bookmark.
class BookmarkDevice final : public BlockDevice {
 public:
  BookmarkDevice(std::uint64_t size_bytes, std::function<void()> on_close)
      : size_bytes_(size_bytes), on_close_(std::move(on_close)) {}
  ~BookmarkDevice() override { on_close_(); }
  BookmarkDevice(const BookmarkDevice&) = delete;
  BookmarkDevice& operator=(const BookmarkDevice&) = delete;

  [[nodiscard]] std::uint64_t size_bytes() const override { return size_bytes_; }
  [[nodiscard]] bool read_only() const override { return true; }
  Task<Result<>> read(std::uint64_t, std::span<std::byte>) override { co_return no_data(); }
  Task<Result<>> write(std::uint64_t, std::span<const std::byte>, WriteFlags) override {
    co_return no_data();
  }
  Task<Result<>> write_zeroes(std::uint64_t, std::uint64_t, ZeroFlags) override { co_return no_data(); }
  Task<Result<>> discard(std::uint64_t, std::uint64_t, WriteFlags) override { co_return no_data(); }
  Task<Result<>> flush() override { co_return Result<>{}; }
  Task<Result<>> extents(std::uint64_t, std::uint64_t, std::size_t, std::vector<Extent>&) override {
    co_return no_data();
  }

 private:
  static std::unexpected<Error> no_data() {
    return fail(ErrorKind::kInvalid, EINVAL, "its data was given up");
  }
  std::uint64_t size_bytes_;
  std::function<void()> on_close_;
};

}  // namespace

NodeId StoreImpl::bookmark(const Spec& spec) const {
  const Tree& tree = engine_->tree();
  const TreeDisk* disk = tree.find_disk(spec.disk);
  return disk == nullptr || !spec.is_snapshot() ? NodeId{0} : tree.find_bookmark(disk->id, spec.snapshot);
}

Task<Outcome<>> StoreImpl::keep_changes(std::vector<Spec> snapshots) {
  auto writable = require_writable();
  if (!writable) co_return std::unexpected(writable.error());
  co_await verbs_.lock();
  auto done = co_await do_keep_changes(std::move(snapshots));
  verbs_.unlock();
  if (done) housekeeper_.wake_reclaimer();
  co_return done;
}

// One record: the node dies as by any removal, and the bookmark is there.
Task<Outcome<>> StoreImpl::do_keep_changes(std::vector<Spec> snapshots) {
  for (const Spec& spec : snapshots) {
    if (spec.is_snapshot() && bookmark(spec).value == 0) continue;
    co_return refuse(ErrorKind::kInvalid, spec.text() + " has no snapshot's data to give up: name snapshots");
  }
  auto leaving = plan_leaving(snapshots, false);
  if (!leaving) co_return std::unexpected(leaving.error());
  auto free = check_leaving(*leaving, false);
  if (!free) co_return free;
  const Tree& tree = engine_->tree();
  const auto plan = [&] {
    Tree::Edits edits;
    for (const auto& [id, spec] : leaving->nodes) {
      for (const Tree::Edits& some : {tree.plan_bookmark(id), tree.plan_kill_node(id)})
        edits.insert(edits.end(), some.begin(), some.end());
    }
    return edits;
  };
  auto done = co_await change(plan, snapshots.front().text());
  co_return done;
}

Outcome<> StoreImpl::check_bookmark_removal(NodeId id, const Spec& spec) const {
  if (holders_of(id) != 0) {
    return refuse(ErrorKind::kBusy, fmt::format("{} is compared with ({}): close that before removing it",
                                                spec.text(), first_holder(id)));
  }
  if (!bookmark_pins_.contains(id)) return {};
  return refuse(ErrorKind::kBusy, spec.text() + " is being read by a diff: try again when that is done");
}

NodeInfo StoreImpl::describe_bookmark(NodeId id) const {
  const BookmarkValue& value = engine_->tree().bookmarks().at(id);
  NodeInfo info;
  info.id = id.value;
  info.kind = NodeInfo::Kind::kChanges;
  info.disk = engine_->tree().disk(value.disk)->value.name;
  info.snapshot = value.name;
  info.size_bytes = value.size_bytes;
  info.created_unix_ms = value.created_unix_ms;
  info.attachments = holders_of(id);
  return info;
}

// They take their places on the lines of the tree: who stands behind one continues from it, as far as anybody
// is told.
void StoreImpl::weave_bookmarks(std::optional<DiskId> only, std::vector<NodeInfo>& nodes) const {
  const Tree& tree = engine_->tree();
  if (tree.bookmarks().empty()) return;
  // Its node may be there still, for the reclaimer.
  std::erase_if(nodes, [&](const NodeInfo& info) { return tree.bookmarks().contains(NodeId{info.id}); });
  std::map<std::uint64_t, View> views;
  for (const NodeInfo& info : nodes) views[info.id] = tree.view_of(*tree.node(NodeId{info.id}));
  const std::size_t before = nodes.size();
  for (const auto& [id, value] : tree.bookmarks()) {
    if (tree.disk(value.disk) == nullptr || tree.trashed(value.disk) || (only && value.disk != *only))
      continue;
    nodes.push_back(describe_bookmark(id));
    views[id.value] = {value.branch, value.epoch};
  }
  if (nodes.size() == before) return;
  std::map<BranchId, std::map<Epoch, std::uint64_t>> points;
  for (const auto& [id, view] : views) points[view.branch][view.epoch] = id;
  std::map<std::uint64_t, std::vector<const NodeInfo*>> children;
  for (NodeInfo& info : nodes) {
    const View view = views[info.id];
    info.parent = 0;
    // The youngest point below it on its own branch, else at or below the fork.
    for (const Tree::Stretch& stretch : tree.path(view, Epoch{0})) {
      const auto& line = points[stretch.branch];
      const bool own = stretch.branch == view.branch;
      const auto behind = own ? line.lower_bound(view.epoch) : line.upper_bound(stretch.up_to);
      if (behind == line.begin()) continue;
      info.parent = std::prev(behind)->second;
      break;
    }
    children[info.parent].push_back(&info);
  }
  std::vector<NodeInfo> ordered;
  std::vector<const NodeInfo*> open(children[0].rbegin(), children[0].rend());
  while (!open.empty()) {
    const NodeInfo* next = open.back();
    open.pop_back();
    ordered.push_back(*next);
    const auto& below = children[next->id];
    open.insert(open.end(), below.rbegin(), below.rend());
  }
  nodes = std::move(ordered);
}

std::unique_ptr<BlockDevice> StoreImpl::open_bookmark(NodeId id, Holder holder) {
  return std::make_unique<BookmarkDevice>(engine_->tree().bookmarks().at(id).size_bytes,
                                          held_by(id, {std::move(holder)}));
}

Outcome<StoreImpl::DiffPoint> StoreImpl::require_diff_point(const Spec& spec) {
  const Tree& tree = engine_->tree();
  if (const NodeId id = bookmark(spec); id.value != 0) {
    const BookmarkValue& value = tree.bookmarks().at(id);
    return DiffPoint{id, {value.branch, value.epoch}, value.size_bytes, false};
  }
  auto node = require_node(spec);
  if (!node) return std::unexpected(node.error());
  return DiffPoint{(*node)->id, tree.view_of(**node), (*node)->value.size_bytes};
}

void StoreImpl::pin(const DiffPoint& base, int step) {
  if (base.data) {
    engine_->tree().node(base.id)->pins += static_cast<std::uint32_t>(step);
    return;
  }
  int& pins = bookmark_pins_[base.id];
  pins += step;
  if (pins == 0) bookmark_pins_.erase(base.id);
}

}  // namespace coppice
