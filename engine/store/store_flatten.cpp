// Flattening: a disk's base is copied into the pool, until it is not needed any more.
//
// The copy is made of ordinary writes to the head (disk/fill.h), so only its end needs a rule: the base is
// let go of behind a commit of all of them. What is left is what the map has as holes; there is no cursor to
// keep. The disk counts as open meanwhile, and takes no snapshot: that would go on needing the base.
#include <fmt/format.h>

#include <algorithm>

#include "base/mutation.h"
#include "disk/fill.h"
#include "store/store_impl.h"

namespace coppice {

namespace {

constexpr std::uint64_t kBackgroundBytesPerSecond = std::uint64_t{64} << 20;
constexpr std::uint64_t kLeavesAtOnce = 64;
constexpr std::size_t kSharersNamed = 5;

}  // namespace

Task<Outcome<>> StoreImpl::start_flatten(std::string disk, FlattenPace pace) {
  return exclusively(do_start_flatten(std::move(disk), pace));
}

Task<Outcome<>> StoreImpl::do_start_flatten(std::string name, FlattenPace pace) {
  auto disk = require_disk(name);
  if (!disk) co_return std::unexpected(disk.error());
  const Tree& tree = engine_->tree();
  const TreeNode& head = *tree.node((*disk)->value.head);
  if (tree.base(head.value.branch) == nullptr) {
    co_return refuse(ErrorKind::kInvalid,
                     fmt::format("disk {} stands on no base: all of it is in the pool already", name));
  }
  const BranchId root = tree.root_of(head.value.branch);
  if (auto alone = require_sole_user(name, head.id, root); !alone) co_return alone;
  auto usable = require_base(head);
  if (!usable) co_return usable;
  const auto job = flattenings_.find(root);
  if (job != flattenings_.end() && job->second->running) co_return Outcome<>{};
  auto marked = co_await mark_flattening(root, true, "disk " + name);
  if (!marked) co_return marked;
  begin_flatten(head, root, pace);
  co_return Outcome<>{};
}

// A snapshot or a clone has its holes for good: it would go on reading them from the base.
Outcome<> StoreImpl::require_sole_user(const std::string& name, NodeId head, BranchId root) const {
  const Tree& tree = engine_->tree();
  std::vector<std::string> others;
  for (const NodeId other : living_over(root)) {
    if (other == head) continue;
    const NodeValue& value = tree.node(other)->value;
    const TreeDisk* owner = tree.disk(value.disk);
    others.push_back(fmt::format("{}{}{}", owner == nullptr ? "" : owner->value.name,
                                 value.state == NodeState::kSnapshot ? "@" + value.name : "",
                                 tree.trashed(value.disk) ? " (in the trash)" : ""));
  }
  if (others.empty()) return {};
  const std::size_t named = std::min(others.size(), kSharersNamed);
  const std::string more = named == others.size() ? "" : fmt::format(" and {} more", others.size() - named);
  return refuse(
      ErrorKind::kBusy,
      fmt::format("disk {} can't be flattened: {}{} read{} from the same base: remove what shares it, or "
                  "make a disk without it: coppice export {} - | coppice import - NEW",
                  name, fmt::join(std::span(others).first(named), ", "), more, others.size() == 1 ? "s" : "",
                  name));
}

// While it is marked the disk takes no snapshot, also behind a crash.
Task<Outcome<>> StoreImpl::mark_flattening(BranchId root, bool flattening, std::string object) {
  const Tree& tree = engine_->tree();
  const auto known = tree.bases().find(root);
  if (known == tree.bases().end() || known->second.flattening == flattening) co_return Outcome<>{};
  const auto plan = [&tree, root, flattening] {
    BaseValue value = tree.bases().at(root);
    value.flattening = flattening;
    return tree.plan_base(root, value);
  };
  auto done = co_await change(plan, std::move(object));
  co_return done;
}

Outcome<> StoreImpl::require_not_flattening(const TreeDisk& disk) {
  const Tree& tree = engine_->tree();
  const BaseValue* base = tree.base(tree.node(disk.value.head)->value.branch);
  if (base == nullptr || !base->flattening) return {};
  const std::string& name = disk.value.name;
  return refuse(ErrorKind::kBusy,
                fmt::format("disk {} is being flattened, and a snapshot would go on needing its base: wait "
                            "for the end ('coppice info {}'), or 'coppice flatten {} --stop'",
                            name, name, name));
}

void StoreImpl::begin_flatten(const TreeNode& head, BranchId root, FlattenPace pace) {
  const std::string name = engine_->tree().disk(head.value.disk)->value.name;
  auto job = std::make_shared<Flattening>();
  job->root = root;
  job->name = name;
  job->pace = pace;
  const BaseValue& base = engine_->tree().bases().at(root);
  job->total_bytes =
      std::min(round_up(base.size_bytes, kBlockBytes), round_up(head.value.size_bytes, kBlockBytes));
  flattenings_[root] = job;
  const Holder holder{"it is being flattened: 'coppice flatten " + name + " --stop' ends that"};
  spawn(run_flatten(job, engine_->head(head.id, name), held_by(head.id, {holder})));
}

Task<void> StoreImpl::run_flatten(std::shared_ptr<Flattening> job, std::shared_ptr<Head> head,
                                  std::function<void()> let_go) {
  auto filled = co_await fill_head(*job, *head);
  co_await verbs_.lock();
  co_await end_flatten(*job, filled);
  let_go();
  job->running = false;
  head.reset();
  verbs_.unlock();
  flatten_ended_.wake_all();
}

Task<Result<>> StoreImpl::fill_head(Flattening& job, Head& head) {
  constexpr std::chrono::nanoseconds least{std::uint64_t{1'000'000'000} * kLeafBytes /
                                           kBackgroundBytesPerSecond};
  const BlockIndex end{job.total_bytes / kBlockBytes};
  const BasePointer base = engine_->bases().under(head.branch);
  std::uint64_t data_until = 0;
  std::uint64_t unchanged = 0;
  for (std::uint64_t at = 0; at < job.total_bytes && !job.stop; job.copied_bytes = at) {
    if (at >= data_until) {
      // A large image is mostly holes.
      const auto next = co_await base_extents(scheduler_, *base, at, job.total_bytes, 1);
      const std::uint64_t until = next.front().offset_bytes + next.front().length_bytes;
      if (next.front().allocated) {
        data_until = until;
      } else if (round_down(until, kLeafBytes) > at || until == job.total_bytes) {
        at = until == job.total_bytes ? until : round_down(until, kLeafBytes);
        continue;
      }
    }
    const auto begun = scheduler_.now();
    const LeafIndex leaf{at / kLeafBytes};
    auto filled = co_await fill_from_base(engine_->parts(), head, leaf, end);
    if (!filled) co_return std::unexpected(filled.error());
    at = std::min(job.total_bytes, at + kLeafBytes);
    unchanged = *filled == 0 ? unchanged + 1 : 0;
    const auto took = scheduler_.now() - begun;
    if (unchanged != 0) {
      // A map in memory does not suspend: others have their turn.
      if (unchanged % kLeavesAtOnce == 0) co_await sleep_for(scheduler_, std::chrono::microseconds(1));
    } else if (job.pace == FlattenPace::kBackground) {
      co_await sleep_for(scheduler_, std::max(took, least - took));
    }
  }
  co_return Result<>{};
}

// Who waits for it is told otherwise.
void StoreImpl::tell_of(const Flattening& job, const std::string& what) const {
  if (job.pace == FlattenPace::kBackground) engine_->tell("disk " + job.name + " " + what);
}

// change() commits first: the copies are durable before the record that lets the base go.
Task<void> StoreImpl::end_flatten(Flattening& job, Result<> filled) {
  Tree& tree = engine_->tree();
  const std::string object = "disk " + job.name;
  const auto known = tree.bases().find(job.root);
  if (known == tree.bases().end() || (filled && job.stop)) co_return;
  const std::string path = known->second.path;
  if (!filled) {
    job.problem = filled.error().text;
    tell_of(job, fmt::format("is not flattened: {}; what was copied stays, 'coppice flatten {}' goes on",
                             job.problem, job.name));
    (void)co_await mark_flattening(job.root, false, object);
    co_return;
  }
  const auto plan = [&tree, &job] { return tree.plan_no_base(job.root); };
  if (mutated(Mutation::kBaseLetGoEarly)) {
    const MetaRecord record{plan()};
    engine_->parts().journal.stage(record);
    (void)tree.apply(record.edits);
  }
  auto done = co_await change(plan, object);
  if (!done) {
    job.problem = done.error().message;
    co_return;
  }
  engine_->bases().drop(job.root);
  allocated_counts_.forget();
  flattenings_.erase(job.root);
  if (job.pace == FlattenPace::kBackground)
    engine_->tell_event(fmt::format("disk {} is flattened: it needs {} no more", job.name, path));
}

Task<Outcome<>> StoreImpl::stop_flatten(std::string name) {
  auto writable = require_writable();
  if (!writable) co_return writable;
  auto disk = require_disk(name);
  if (!disk) co_return std::unexpected(disk.error());
  const Tree& tree = engine_->tree();
  const BranchId branch = tree.node((*disk)->value.head)->value.branch;
  const BaseValue* base = tree.base(branch);
  if (base == nullptr || !base->flattening)
    co_return refuse(ErrorKind::kInvalid, fmt::format("disk {} is not being flattened", name));
  const BranchId root = tree.root_of(branch);
  const auto found = flattenings_.find(root);
  if (found != flattenings_.end()) {
    const std::shared_ptr<Flattening> job = found->second;
    job->stop = true;
    while (job->running) co_await flatten_ended_.wait();
    flattenings_.erase(root);
  }
  co_await verbs_.lock();
  auto done = co_await mark_flattening(root, false, "disk " + name);
  verbs_.unlock();
  co_return done;
}

// They stay marked, and go on at the next open.
Task<void> StoreImpl::interrupt_flattens() {
  std::vector<std::shared_ptr<Flattening>> jobs;
  for (const auto& [root, job] : flattenings_) jobs.push_back(job);
  for (const auto& job : jobs) {
    job->stop = true;
    while (job->running) co_await flatten_ended_.wait();
  }
  std::erase_if(flattenings_, [](const auto& entry) { return entry.second->stop; });
}

// In a store that lives long enough.
void StoreImpl::resume_flattens() {
  if (policy_interval_.count() == 0 || !require_writable()) return;
  const Tree& tree = engine_->tree();
  std::vector<std::pair<BranchId, NodeId>> marked;
  for (const auto& [root, base] : tree.bases()) {
    const auto living = living_over(root);
    if (base.flattening && living.size() == 1) marked.emplace_back(root, living.front());
  }
  for (const auto& [root, head] : marked) {
    const TreeNode& node = *tree.node(head);
    if (node.value.state != NodeState::kHead || tree.trashed(node.value.disk)) continue;
    if (require_base(node)) begin_flatten(node, root, FlattenPace::kBackground);
  }
}

}  // namespace coppice
