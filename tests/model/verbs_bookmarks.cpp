// Snapshots of which only the changes are kept.
#include "world.h"

namespace coppice::test {

// Only what changed is kept of one that nobody cloned. A disk takes its bookmarks along.
void World::keep_changes() {
  if (bookmarks_.size() > 6) {
    const auto place = std::next(bookmarks_.begin(), static_cast<std::ptrdiff_t>(below(bookmarks_.size())));
    note("rm of bookmark " + place->second.spec().text());
    require(run(store_->remove({place->second.spec()}, false)), "rm of a bookmark");
    bookmarks_.erase(place);
    return;
  }
  const int node = some_snapshot();
  if (node == 0) return;
  const Spec spec = nodes_.at(node).spec();
  note("rm --keep-changes " + spec.text());
  auto kept = run(store_->keep_changes({spec}));
  if (cloned_away(node, {node}))
    return require_refused(kept, ErrorKind::kBusy, "rm of cloned " + spec.text());
  require(kept, "rm --keep-changes " + spec.text());
  ModelNode bookmark = nodes_.at(node);
  bookmark.changes_only = true;
  drop_node(node);
  bookmarks_[node] = std::move(bookmark);
  require_refused(run(store_->open_device(spec, Access::kReadOnly, {"the model"})), ErrorKind::kInvalid,
                  "open");
  require_refused(run(store_->clone(spec, new_name("x"))), ErrorKind::kInvalid, "clone of a bookmark");
  require_refused(run(store_->rollback(spec, {})), ErrorKind::kInvalid, "rollback to a bookmark");
  require_refused(run(store_->snapshot({spec}, {})), ErrorKind::kExists, "snapshot as a bookmark");
  require_refused(run(store_->diff({spec.disk, ""}, spec, 0)), ErrorKind::kInvalid, "diff to a bookmark");
}

void World::diff_bookmark() {
  if (bookmarks_.empty()) return;
  const auto place = std::next(bookmarks_.begin(), static_cast<std::ptrdiff_t>(below(bookmarks_.size())));
  const ModelNode& b = nodes_.at(some_node());
  check_diff(place->second, b);
}

}  // namespace coppice::test
