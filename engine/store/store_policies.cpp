// The verbs that say how long snapshots stay.
#include <fmt/format.h>

#include <algorithm>

#include "store/store_impl.h"

namespace coppice {

namespace {

// So that a node's value, and with it a verb's record, stays small.
constexpr std::size_t kMostHolds = 32;

}  // namespace

Outcome<TreeNode*> StoreImpl::require_snapshot(const Spec& spec, const char* verb) {
  if (spec.is_snapshot()) return require_node(spec);
  return refuse(ErrorKind::kInvalid,
                fmt::format("{} names no snapshot: {} takes {}@SNAPSHOT", spec.disk, verb, spec.disk));
}

Task<Outcome<>> StoreImpl::hold(Spec snapshot, std::string tag) {
  auto writable = require_writable();
  if (!writable) co_return std::unexpected(writable.error());
  co_await verbs_.lock();
  auto done = co_await do_hold(std::move(snapshot), std::move(tag));
  verbs_.unlock();
  co_return done;
}

Task<Outcome<>> StoreImpl::do_hold(Spec snapshot, std::string tag) {
  auto valid = check_name(tag);
  if (!valid) co_return valid;
  auto node = require_snapshot(snapshot, "hold");
  if (!node) co_return std::unexpected(node.error());
  std::vector<std::string> tags = (*node)->value.holds;
  const auto place = std::ranges::lower_bound(tags, tag);
  if (place != tags.end() && *place == tag) {
    co_return refuse(ErrorKind::kExists,
                     fmt::format("{} is held by {} already: choose another tag", snapshot.text(), tag));
  }
  if (tags.size() == kMostHolds) {
    co_return refuse(ErrorKind::kInvalid, fmt::format("{} is held under {} tags, which is all there can be: "
                                                      "release one first",
                                                      snapshot.text(), kMostHolds));
  }
  tags.insert(place, std::move(tag));
  const auto plan = [&, id = (*node)->id] { return engine_->tree().plan_holds(id, tags); };
  auto done = co_await change(plan, snapshot.text());
  co_return done;
}

Task<Outcome<std::string>> StoreImpl::release(Spec snapshot, std::string tag) {
  auto writable = require_writable();
  if (!writable) co_return std::unexpected(writable.error());
  co_await verbs_.lock();
  auto done = co_await do_release(std::move(snapshot), std::move(tag));
  verbs_.unlock();
  co_return done;
}

Task<Outcome<std::string>> StoreImpl::do_release(Spec snapshot, std::string tag) {
  auto node = require_snapshot(snapshot, "release");
  if (!node) co_return std::unexpected(node.error());
  std::vector<std::string> tags = (*node)->value.holds;
  if (tags.empty()) {
    co_return refuse(ErrorKind::kNotFound,
                     fmt::format("{} is not held: nothing to release", snapshot.text()));
  }
  const std::string all = fmt::format("{}", fmt::join(tags, ", "));
  if (tag.empty() && tags.size() > 1) {
    co_return refuse(ErrorKind::kInvalid,
                     fmt::format("{} is held by {}: say which one to release", snapshot.text(), all));
  }
  if (tag.empty()) tag = tags.front();
  if (std::erase(tags, tag) == 0) {
    co_return refuse(ErrorKind::kNotFound,
                     fmt::format("{} is not held by {}, but by {}", snapshot.text(), tag, all));
  }
  const auto plan = [&, id = (*node)->id] { return engine_->tree().plan_holds(id, tags); };
  auto done = co_await change(plan, snapshot.text());
  if (!done) co_return std::unexpected(done.error());
  co_return tag;
}

}  // namespace coppice
