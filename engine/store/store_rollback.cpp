// Going back to snapshots: of one disk, or of several as one.
#include <fmt/chrono.h>
#include <fmt/format.h>

#include <map>
#include <set>

#include "base/mutation.h"
#include "store/store_impl.h"

namespace coppice {

Task<Outcome<std::string>> StoreImpl::rollback(std::vector<Spec> to, RollbackOptions options) {
  auto writable = require_writable();
  if (!writable) co_return std::unexpected(writable.error());
  Outcome<std::string> done;
  if (options.online) {
    done = co_await rollback_online(std::move(to), std::move(options));
  } else {
    co_await verbs_.lock();
    done = co_await do_rollback(std::move(to), std::move(options));
    verbs_.unlock();
  }
  if (done) housekeeper_.wake_reclaimer();
  co_return done;
}

Outcome<std::vector<Tree::Return>> StoreImpl::plan_returns(const std::vector<Spec>& to, bool online) {
  std::vector<Tree::Return> returns;
  std::set<std::string> disks;
  for (const Spec& spec : to) {
    if (!spec.is_snapshot()) {
      return refuse(ErrorKind::kInvalid,
                    fmt::format("{}: name the snapshot to go back to: {}@NAME", spec.disk, spec.disk));
    }
    auto node = require_node(spec);
    if (!node) return std::unexpected(node.error());
    if (!disks.insert(spec.disk).second) {
      return refuse(ErrorKind::kInvalid,
                    fmt::format("disk {} is named twice: it can go back to one snapshot", spec.disk));
    }
    const TreeDisk& disk = *engine_->tree().find_disk(spec.disk);
    const std::string verb =
        live_attachment(disk.id) == nullptr ? "rolling it back" : "rolling it back, or give --online";
    auto free = online ? require_only_attachments(spec) : require_unattached(disk, verb);
    if (!free) return std::unexpected(free.error());
    returns.push_back({disk.id, (*node)->id});
  }
  return returns;
}

Outcome<std::string> StoreImpl::choose_kept_name(const std::vector<Spec>& to,
                                                 const RollbackOptions& options) const {
  if (options.discard) return std::string();
  const Tree& tree = engine_->tree();
  const auto taken = [&](const std::string& name) -> const Spec* {
    for (const Spec& spec : to)
      if (tree.snapshot_name_taken(tree.find_disk(spec.disk)->id, name)) return &spec;
    return nullptr;
  };
  if (!options.keep_as.empty()) {
    auto valid = check_name(options.keep_as);
    if (!valid) return std::unexpected(valid.error());
    const Spec* other = taken(options.keep_as);
    if (other == nullptr) return options.keep_as;
    return refuse(ErrorKind::kExists,
                  fmt::format("snapshot {}@{} exists already: choose another name to keep", other->disk,
                              options.keep_as));
  }
  const std::string base =
      fmt::format("before-rollback-{:%Y-%m-%dT%H:%M:%S}Z", fmt::gmtime(wall_now() / 1000));
  std::string name = base;
  for (int i = 2; taken(name) != nullptr; ++i) name = fmt::format("{}-{}", base, i);
  return name;
}

// One record moves all heads: a crash finds all of them moved, or none.
Task<Outcome<std::string>> StoreImpl::do_rollback(std::vector<Spec> to, RollbackOptions options) {
  auto returns = plan_returns(to, options.online);
  if (!returns) co_return std::unexpected(returns.error());
  if (returns->empty()) co_return refuse(ErrorKind::kInvalid, "rollback: name the snapshots to go back to");
  auto keep = choose_kept_name(to, options);
  if (!keep || options.dry_run) co_return keep;
  const std::int64_t now = wall_now();
  const std::string object = "disk " + to.front().disk;
  const auto plan = [&] { return engine_->tree().plan_rollback(*returns, *keep, now); };
  Outcome<> done;
  if (mutated(Mutation::kRollbackInTurn)) {
    for (const Tree::Return& each : *returns) {
      const auto plan_one = [&] { return engine_->tree().plan_rollback({each}, *keep, now); };
      if (done) done = co_await change(plan_one, object);
    }
  } else {
    done = co_await change(plan, object);
  }
  if (!done) co_return std::unexpected(done.error());
  co_return keep;
}

Outcome<> StoreImpl::require_only_attachments(const Spec& to) const {
  const Tree& tree = engine_->tree();
  const TreeDisk& disk = *tree.find_disk(to.disk);
  if (const OpenBy* plain = plain_holder(disk.value.head, false)) {
    return refuse(
        ErrorKind::kBusy,
        fmt::format("disk {} is open without an attachment ({}), and such a client can't be asked to "
                    "come back: close it before rolling the disk back",
                    to.disk, plain->description));
  }
  const TreeNode* target = engine_->tree().find_snapshot(disk.id, to.snapshot);
  const std::uint64_t size = tree.node(disk.value.head)->value.size_bytes;
  if (target == nullptr || target->value.size_bytes == size || live_attachment(disk.id) == nullptr) return {};
  return refuse(ErrorKind::kBusy, fmt::format("{} has another size than the disk, which its client would not "
                                              "notice: detach the disk before rolling it back",
                                              to.text()));
}

// What their clients ask for meanwhile stays unanswered; they ask again when they are back, which is behind
// the doors. Those of one disk leave behind those of another: what came to the latter by then can build on
// nothing of the former that its kept head does not have.
Task<Outcome<std::string>> StoreImpl::rollback_online(std::vector<Spec> to, RollbackOptions options) {
  // All who take several doors take them in this order.
  std::map<DiskId, AttachmentGate*> gates;
  for (const Spec& spec : to) {
    auto disk = require_disk(spec.disk);
    if (!disk) co_return std::unexpected(disk.error());
    gates.emplace((*disk)->id, &gate_of((*disk)->id));
  }
  for (const auto& [id, gate] : gates) co_await gate->door.lock();
  RollbackOptions rehearsal = options;
  rehearsal.dry_run = true;
  co_await verbs_.lock();
  auto done = co_await do_rollback(to, rehearsal);
  verbs_.unlock();
  if (done && !options.dry_run) {
    const auto all = [](const AttachmentGate::Pass&) { return true; };
    for (const auto& [id, gate] : gates) co_await gate->dismiss(all, "its disk is rolled back");
    co_await verbs_.lock();
    done = co_await do_rollback(std::move(to), std::move(options));
    verbs_.unlock();
  }
  for (const auto& [id, gate] : gates) gate->door.unlock();
  co_return done;
}

}  // namespace coppice
