// Going back to snapshots: of one disk, or of several as one.
#include <fmt/chrono.h>
#include <fmt/format.h>

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

// While one of several has its clients leave, a name may go to another disk, whose clients were not asked.
Outcome<> StoreImpl::require_behind(const Gates& gates, const std::vector<Spec>& to) const {
  for (const Spec& spec : to) {
    const TreeDisk* disk = engine_->tree().find_disk(spec.disk);
    if (disk != nullptr && !gates.contains(disk->id)) {
      return refuse(ErrorKind::kBusy,
                    fmt::format("disk {} has become another one meanwhile: nothing was rolled "
                                "back, look and say it again",
                                spec.disk));
    }
  }
  return {};
}

// What their clients ask for from then on stays unanswered; they ask again when they are back, which is
// behind the doors. All are asked in one step: so what one of them was answered no other has gone on without.
Task<Outcome<std::string>> StoreImpl::rollback_online(std::vector<Spec> to, RollbackOptions options) {
  // All who take several doors take them in this order.
  Gates gates;
  for (const Spec& spec : to) {
    auto disk = require_disk(spec.disk);
    if (!disk) co_return std::unexpected(disk.error());
    gates.emplace((*disk)->id, &gate_of((*disk)->id));
  }
  for (const auto& [id, gate] : gates) co_await gate->door.lock();
  RollbackOptions rehearsal = options;
  rehearsal.dry_run = true;
  auto done = co_await roll_back_behind(gates, to, rehearsal);
  if (done && !options.dry_run) {
    const auto all = [](const AttachmentGate::Pass&) { return true; };
    const std::string why = "its disk is rolled back";
    for (const auto& [id, gate] : gates) gate->ask_to_leave(all, why);
    for (const auto& [id, gate] : gates) co_await gate->dismiss(all, why);
    done = co_await roll_back_behind(gates, std::move(to), std::move(options));
  }
  for (const auto& [id, gate] : gates) gate->door.unlock();
  co_return done;
}

Task<Outcome<std::string>> StoreImpl::roll_back_behind(const Gates& gates, std::vector<Spec> to,
                                                       RollbackOptions options) {
  co_await verbs_.lock();
  Outcome<std::string> done;
  if (auto same = require_behind(gates, to); same) {
    done = co_await do_rollback(std::move(to), std::move(options));
  } else {
    done = std::unexpected(same.error());
  }
  verbs_.unlock();
  co_return done;
}

}  // namespace coppice
