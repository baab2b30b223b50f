// The verbs that say how long snapshots stay.
#include <fmt/format.h>

#include <algorithm>

#include "store/store_impl.h"

namespace coppice {

namespace {

// So that a node's value, and with it a verb's record, stays small.
constexpr std::size_t kMostHolds = 32;
// How many one round removes: the next one goes on.
constexpr std::size_t kMostAtOnce = 64;
constexpr std::chrono::milliseconds kLook{50};

}  // namespace

Outcome<TreeNode*> StoreImpl::require_snapshot(const Spec& spec, const char* verb) {
  if (spec.is_snapshot()) return require_node(spec);
  return refuse(ErrorKind::kInvalid,
                fmt::format("{} names no snapshot: {} takes {}@SNAPSHOT", spec.disk, verb, spec.disk));
}

Task<Outcome<>> StoreImpl::hold(Spec snapshot, std::string tag) {
  return exclusively(do_hold(std::move(snapshot), std::move(tag)));
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
  return exclusively(do_release(std::move(snapshot), std::move(tag)));
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

Task<Outcome<>> StoreImpl::set_expiry(Spec snapshot, std::int64_t expires_unix_ms) {
  return exclusively(do_set_expiry(std::move(snapshot), expires_unix_ms));
}

Task<Outcome<>> StoreImpl::do_set_expiry(Spec snapshot, std::int64_t expires_unix_ms) {
  auto node = require_snapshot(snapshot, "expire");
  if (!node) co_return std::unexpected(node.error());
  const auto plan = [&, id = (*node)->id] { return engine_->tree().plan_expiry(id, expires_unix_ms); };
  auto done = co_await change(plan, snapshot.text());
  co_return done;
}

std::int64_t StoreImpl::wall_now() const {
  if (wall_clock_) return wall_clock_();
  const auto now = std::chrono::system_clock::now().time_since_epoch();
  return std::chrono::duration_cast<std::chrono::milliseconds>(now).count();
}

// As long as it stays true it is not told again.
void StoreImpl::tell_once(const std::string& text) {
  telling_.insert(text);
  if (!told_.contains(text)) engine_->tell(text);
}

Task<Outcome<>> StoreImpl::run_policies() {
  engine_->bases().let_go();
  auto done = require_writable();
  if (done) done = co_await run_schedules();
  if (done) done = co_await expire_snapshots();
  if (done) done = co_await empty_old_trash();
  if (!done) tell_once("what has had its time is not removed: " + done.error().message);
  told_ = std::move(telling_);
  telling_.clear();
  co_return done;
}

// Some at a time, so that other verbs get in between.
Task<Outcome<>> StoreImpl::expire_snapshots() {
  co_await verbs_.lock();
  const Tree& tree = engine_->tree();
  const std::int64_t now = wall_now();
  std::vector<NodeId> expired;
  std::vector<std::string> names;
  for (const auto& [id, node] : tree.nodes()) {
    const NodeValue& value = node.value;
    if (value.state != NodeState::kSnapshot || value.expires_unix_ms == 0 || value.expires_unix_ms > now)
      continue;
    if (tree.trashed(value.disk)) continue;  // it is brought back whole, or goes whole
    const Spec spec{tree.disk(value.disk)->value.name, value.name};
    auto free = check_removal(node, spec, {}, false);
    if (!free) {
      tell_once(spec.text() + " has expired, and stays: " + free.error().message);
    } else if (expired.size() < kMostAtOnce) {
      expired.push_back(id);
      names.push_back(spec.text());
    }
  }
  Outcome<> done;
  if (!expired.empty()) done = co_await kill(std::move(expired), names.front());
  verbs_.unlock();
  if (done && !names.empty()) {
    housekeeper_.wake_reclaimer();
    for (const std::string& name : names) engine_->tell_event(name + " has expired and is removed");
  }
  co_return done;
}

void StoreImpl::start_policies() {
  if (policy_interval_.count() == 0 || engine_->read_only()) return;
  policies_stopping_ = false;
  policies_running_.add();
  spawn(keep_policies());
}

Task<void> StoreImpl::stop_policies() {
  policies_stopping_ = true;
  co_await policies_running_.wait();
}

Task<void> StoreImpl::keep_policies() {
  while (!policies_stopping_) {
    co_await run_policies();
    const auto next = scheduler_.now() + policy_interval_;
    while (!policies_stopping_ && scheduler_.now() < next) co_await sleep_for(scheduler_, kLook);
  }
  policies_running_.done();
}

}  // namespace coppice
