// What a session does before the clients come, and after they have gone: comparing the store with the oracle.
#include <fmt/format.h>

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <cstring>
#include <map>

#include "coppice/aligned_buffer.h"
#include "session.h"
#include "store/meta_restore.h"
#include "tree/change_cursor.h"
#include "tree/fate.h"

namespace coppice::sim {

Task<void> Session::start(Moment moment) {
  auto opened = co_await process_.open();
  if (!opened) {
    if (!fault()) shared_.violate("the store does not open: " + opened.error().message);
    co_return;
  }
  Rng& rng = shared_.rng;
  if (rng.once_in(2)) co_await check_store(false);
  const bool compare_first = rng.once_in(2);
  if (compare_first) co_await reconcile(moment);
  process_.store->start();
  if (!compare_first) co_await reconcile(moment);
  if (shared_.violation.empty() && !fault()) co_await check_ends();
  if (shared_.violation.empty() && !fault()) co_await settle_attachments();
  if (!shared_.violation.empty() || fault()) co_return;
  if (shared_.scene == nullptr) {
    for (const auto& [name, disk] : shared_.oracle.disks) start_clients(name);
    ++tasks_;
    spawn(control(rng.next()));
  } else if (shared_.phase != 0) {
    spawn(play());
  }
  started_ = true;
}

Task<void> Session::reconcile(Moment moment) {
  co_await settle_pending();
  if (shared_.violation.empty() && !fault()) co_await check_names();
  if (shared_.violation.empty() && !fault()) co_await check_all(moment);
}

Task<bool> Session::exists(Spec spec) {
  auto info = co_await process_.store->info(spec);
  co_return info.has_value();
}

// The verb that the crash interrupted: all of it happened, or nothing.
Task<void> Session::settle_pending() {
  // Kept until all is known: this life may be cut short as well.
  PendingVerb& verb = shared_.pending;
  using Kind = PendingVerb::Kind;
  Oracle& oracle = shared_.oracle;
  if (verb.kind == Kind::kCreate || verb.kind == Kind::kClone) {
    const bool there = co_await exists({verb.name, ""});
    if (there && verb.kind == Kind::kCreate)
      oracle.add_disk(verb.name, verb.size, verb.strict, verb.over_base);
    if (there && verb.kind == Kind::kClone)
      oracle.add_disk_like(verb.name, oracle.disks[verb.specs[0].disk]->snapshots[verb.specs[0].snapshot],
                           verb.strict);
  }
  if (verb.kind == Kind::kSnapshot || verb.kind == Kind::kRemove) {
    std::size_t there = 0;
    for (const Spec& spec : verb.specs) {
      const bool found = co_await exists(spec);
      if (found) ++there;
    }
    if (there != 0 && there != verb.specs.size())
      shared_.violate("a verb on several objects happened in part");
    for (std::size_t i = 0; i < verb.specs.size() && shared_.violation.empty(); ++i) {
      const Spec& spec = verb.specs[i];
      DiskModel& disk = *oracle.disks[spec.disk];
      if (verb.kind == Kind::kSnapshot && there != 0)
        disk.snapshots[spec.snapshot] = std::move(verb.captured[i]);
      if (verb.kind == Kind::kRemove && there == 0 && spec.is_snapshot()) disk.snapshots.erase(spec.snapshot);
      if (verb.kind == Kind::kRemove && there == 0 && !spec.is_snapshot()) oracle.disks.erase(spec.disk);
    }
  }
  if (verb.kind == Kind::kRollback) {
    std::size_t moved = 0;
    for (const Spec& spec : verb.specs) {
      auto info = co_await process_.store->info({spec.disk, ""});
      moved += info && info->id != oracle.disks[spec.disk]->head ? 1 : 0;
    }
    if (moved != 0 && moved != verb.specs.size())
      shared_.violate(fmt::format("of {} disks that went back as one {} have", verb.specs.size(), moved));
    if (moved == verb.specs.size()) note_rolled_back(verb);
  }
  if (verb.kind == Kind::kResize) {
    DiskModel& disk = *oracle.disks[verb.specs[0].disk];
    auto info = co_await process_.store->info({disk.name, ""});
    if (info && info->size_bytes == verb.size) oracle.resize(disk, verb.size);
  }
  if (verb.kind == Kind::kSetPolicy) {
    DiskModel& disk = *oracle.disks[verb.specs[0].disk];
    auto info = co_await process_.store->info({disk.name, ""});
    if (info && info->policy.strict == verb.strict) disk.strict_since = verb.strict ? verb.since : kNever;
  }
  if (verb.kind == Kind::kHold || verb.kind == Kind::kExpiry) {
    SnapshotModel& model = oracle.disks[verb.specs[0].disk]->snapshots[verb.specs[0].snapshot];
    auto info = co_await process_.store->info(verb.specs[0]);
    const std::set<std::string> holds =
        info ? std::set<std::string>(info->holds.begin(), info->holds.end()) : std::set<std::string>();
    if (info && verb.kind == Kind::kHold && holds.contains(verb.name) != model.holds.contains(verb.name)) {
      if (model.holds.erase(verb.name) == 0) model.holds.insert(verb.name);
    }
    if (info && verb.kind == Kind::kExpiry && info->expires_unix_ms == verb.time_ms)
      model.expires_ms = verb.time_ms;
  }
  if (verb.kind == Kind::kKeepChanges || verb.kind == Kind::kDropBookmark) co_await settle_bookmark(verb);
  if (verb.kind == Kind::kPolicies) co_await settle_scheduled(false);
  if (verb.kind == Kind::kPolicies) co_await settle_policies();
  if (verb.kind == Kind::kQuota || verb.kind == Kind::kSchedule) {
    DiskModel& disk = *oracle.disks[verb.specs[0].disk];
    auto info = co_await process_.store->info(verb.specs[0]);
    auto plan = co_await process_.store->schedule(disk.name, std::nullopt);
    if (verb.kind == Kind::kQuota && info && info->quota.limit_bytes == verb.size)
      note_quota(disk, verb.size);
    if (verb.kind == Kind::kSchedule && plan && plan->rules == verb.schedule)
      note_schedule(disk, verb.schedule);
  }
  if (verb.kind == Kind::kTrash || verb.kind == Kind::kUndelete) co_await settle_trash(verb);
  verb = {};
  for (auto& [name, disk] : oracle.disks) disk->watchers = 0;
  for (auto& [name, disk] : oracle.trash) disk->watchers = 0;
}

// Exactly the disks and snapshots that were acknowledged are there.
Task<void> Session::check_names() {
  auto nodes = co_await process_.store->tree(std::nullopt);
  if (!nodes) {
    shared_.violate("tree: " + nodes.error().message);
    co_return;
  }
  std::size_t found = 0;
  for (const NodeInfo& node : *nodes) {
    if (node.kind == NodeInfo::Kind::kDeleted) continue;
    ++found;
    auto disk = shared_.oracle.disks.find(node.disk);
    const bool bookmark = node.kind == NodeInfo::Kind::kChanges;
    const bool known = disk != shared_.oracle.disks.end() &&
                       (bookmark ? disk->second->bookmarks.contains(node.snapshot)
                                 : node.snapshot.empty() || disk->second->snapshots.contains(node.snapshot));
    if (!known) shared_.violate(fmt::format("{}@{} is there, and should not be", node.disk, node.snapshot));
    if (known && !bookmark && !node.snapshot.empty())
      check_policies(node, disk->second->snapshots[node.snapshot]);
  }
  std::size_t expected = 0;
  for (const auto& [name, disk] : shared_.oracle.disks)
    expected += 1 + disk->snapshots.size() + disk->bookmarks.size();
  if (found < expected)
    shared_.violate(fmt::format("{} disks and snapshots are there, not {}", found, expected));
  co_await check_trash();
}

Task<Result<>> Session::read_all(Spec spec, std::vector<SectorContent>& into) {
  auto device = co_await process_.store->open_device(spec, Access::kReadOnly, {"oracle"});
  if (!device) co_return fail(ErrorKind::kNotFound, ENOENT, "can't be opened");
  const std::uint64_t size = (*device)->size_bytes();
  into.reserve(size / kSectorBytes);
  const std::uint64_t piece = (shared_.rng.once_in(2) ? 64 : 7) * kBlockBytes;
  const AlignedBuffer buffer(piece);
  for (std::uint64_t done = 0; done < size; done += piece) {
    const auto part = buffer.first(std::min(piece, size - done));
    std::ranges::fill(part, std::byte{0x55});
    auto read = co_await (*device)->read(done, part);
    if (!read) co_return read;
    for (std::uint64_t at = 0; at < part.size(); at += kSectorBytes)
      into.push_back(sector_value(part.subspan(at, kSectorBytes)));
  }
  co_return Result<>{};
}

Task<void> Session::learn_head(DiskModel& disk) {
  auto info = co_await process_.store->info({disk.name, ""});
  if (!info) {
    shared_.violate("disk " + disk.name + " is gone: " + info.error().message);
    co_return;
  }
  disk.head = info->id;
  if (info->policy.strict != (disk.strict_since != kNever))
    shared_.violate("disk " + disk.name + (info->policy.strict ? " is strict" : " is not strict any more"));
  if (info->size_bytes != disk.size_bytes)
    shared_.violate(
        fmt::format("disk {} has {} bytes, not {}", disk.name, info->size_bytes, disk.size_bytes));
}

Task<void> Session::check_head(DiskModel& disk, Moment moment) {
  co_await learn_head(disk);
  std::vector<SectorContent> content;
  auto read = co_await read_all({disk.name, ""}, content);
  if (!read && fault()) co_return;
  if (!read) {
    shared_.violate(fmt::format("{} can't be read after recovery: {} ({})", disk.name, read.error().text,
                                process_.notices));
    co_return;
  }
  if (content.size() * kSectorBytes != disk.size_bytes) co_return;  // told already
  if (auto wrong = shared_.oracle.check_recovered(disk, content, moment)) {
    if (shared_.dump) co_await print_dump({});
    shared_.violate(*wrong);
  }
}

// The map holds nothing behind a disk's end, whatever a crash has interrupted: the store has seen to that by
// the time a disk can be opened.
Task<void> Session::check_ends() {
  const Tree& tree = process_.engine->tree();
  for (const auto& [name, model] : shared_.oracle.disks) {
    auto device = co_await process_.store->open_device({name, ""}, Access::kReadOnly, {"oracle"});
    if (fault()) co_return;
    if (!device) {
      shared_.violate("disk " + name + " can't be opened: " + device.error().message);
      co_return;
    }
    const TreeNode& head = *tree.node(tree.find_disk(name)->value.head);
    const BlockIndex end{round_up(head.value.size_bytes, kBlockBytes) / kBlockBytes};
    auto found = co_await process_.engine->map().scan(tree.view_of(head), leaf_of(end), kLastLeaf, SIZE_MAX);
    if (!found && !fault()) shared_.violate("disk " + name + ": its map can't be read");
    if (!found) co_return;
    for (const LeafMap::Found& each : *found) {
      for (unsigned bit = 0; bit < kLeafBlocks; ++bit) {
        const bool behind = first_block(each.index).next(bit) >= end;
        if (behind && each.leaf.run_at(bit).kind == LeafRun::Kind::kData)
          shared_.violate(
              fmt::format("{} ends at {} bytes, and has data behind that", name, head.value.size_bytes));
      }
    }
  }
}

Task<void> Session::check_snapshot(DiskModel& disk, std::string name) {
  std::vector<SectorContent> content;
  auto read = co_await read_all({disk.name, name}, content);
  if (!read && fault()) co_return;
  if (!read) {
    shared_.violate(fmt::format("snapshot {}@{} can't be read: {} ({})", disk.name, name, read.error().text,
                                process_.notices));
    co_return;
  }
  SnapshotModel& snapshot = disk.snapshots[name];
  if (content.size() * kSectorBytes != snapshot.size_bytes) {
    shared_.violate(fmt::format("snapshot {}@{} has {} sectors, not {} bytes", disk.name, name,
                                content.size(), snapshot.size_bytes));
    co_return;
  }
  if (auto wrong = shared_.oracle.check_snapshot(disk.name + "@" + name, snapshot, content)) {
    if (shared_.dump) co_await print_dump({});
    shared_.violate(*wrong);
  }
}

Task<void> Session::check_all(Moment moment) {
  for (auto& [disk_name, disk] : shared_.oracle.disks) {
    for (auto& [name, snapshot] : disk->snapshots) {
      co_await check_snapshot(*disk, name);
      if (!shared_.violation.empty()) co_return;
    }
    co_await check_head(*disk, moment);
    if (!shared_.violation.empty()) co_return;
  }
}

// The invariants of map, allocation and tree. Before housekeeping runs the store's own verb would wait for
// it.
Task<void> Session::check_store(bool running) {
  Outcome<CheckReport> report;
  if (running) {
    report = co_await process_.store->check(true);
  } else {
    report = co_await check_engine(process_.scheduler, *process_.engine, true);
  }
  if (fault()) co_return;
  if (!report) {
    shared_.violate("check: " + report.error().message);
  } else if (!report->problems.empty()) {
    if (shared_.dump) co_await print_dump(*report);
    shared_.violate(fmt::format("check ({}) found {} problems: {} ({})", running ? "running" : "recovered",
                                report->problems.size(), report->problems.front(), process_.notices));
  }
  if (!running && shared_.violation.empty()) co_await compare_copy();
}

// Behind the reclaimer: what is taken is what disks and snapshots see. check looks at all that the map holds,
// so a version that nobody sees any more speaks for its blocks there.
Task<void> Session::count_blocks() {
  Tree& tree = process_.engine->tree();
  std::vector<NodeId> alive;
  for (const auto& [id, node] : tree.nodes())
    if (node.value.state != NodeState::kDead) alive.push_back(id);
  const std::uint64_t taken = process_.engine->parts().allocator.copy_owned().data_blocks();
  auto seen = co_await seen_blocks(tree, process_.engine->map(), std::move(alive));
  if (!seen || fault() || *seen == taken) co_return;
  if (shared_.dump) co_await print_dump({});
  shared_.violate(fmt::format("{} blocks are taken, and disks and snapshots see {}", taken, *seen));
}

namespace {

using Content = std::map<std::string, std::string>;

// A change mask counts as the next point's: between two points it may stand anywhere, and the copy may have
// moved it before the map did.
void add_mask(const Tree& tree, std::string_view key, std::string_view value, Content& into) {
  const auto at = decode_change_key(key);
  const auto mask = decode_mask(value);
  if (!at || !mask) {
    into.emplace(key, value);
    return;
  }
  const auto point = tree.point_at_or_behind({at->branch, at->epoch});
  if (!point) return;
  std::string& seen = into[std::string(encode_key(ChangeKey{at->branch, *point, at->leaf}))];
  seen = encode_mask(*mask | decode_mask(seen).value_or(0));
}

Content content_of(MetaStore& meta, Family family, const Tree& tree) {
  Content content;
  auto iterator = meta.iterate(family, Reach::kAll);
  for (iterator->seek(""); iterator->valid(); iterator->next()) {
    if (family == Family::kChange) {
      add_mask(tree, iterator->key(), iterator->value(), content);
    } else {
      content.emplace(iterator->key(), iterator->value());
    }
  }
  return content;
}

std::string text_of(const Content& content, Content::const_iterator at) {
  std::string out;
  if (at == content.end()) return out;
  for (const char c : at->first) out += fmt::format("{:02x}", static_cast<unsigned char>(c));
  out += " = ";
  for (const char c : at->second) out += fmt::format("{:02x}", static_cast<unsigned char>(c));
  return out;
}

}  // namespace

// With nobody at work, behind a checkpoint: the copy in the pool is the map, key by key (but for where masks
// stand).
Task<void> Session::compare_copy() {
  Pool& pool = process_.engine->parts().pool;
  if (!pool.superblock().meta_copy.whole()) co_return;
  const auto copied = make_memory_meta_store();
  MetaStore* into = copied.get();
  auto read = co_await read_copy(pool, into, CopyPart::kAll);
  if (fault()) co_return;
  if (!read) {
    shared_.violate(std::string("the copy of the map can't be read: ") + read.error().text);
    co_return;
  }
  const Tree& tree = process_.engine->tree();
  for (const Family family : {Family::kLeaf, Family::kChange, Family::kMeta}) {
    const Content map = content_of(process_.engine->meta(), family, tree);
    const Content copy = content_of(*copied, family, tree);
    if (map == copy) continue;
    if (shared_.dump) {
      const auto [a, b] = std::mismatch(map.begin(), map.end(), copy.begin(), copy.end());
      fmt::print("map:  {}\ncopy: {}\n", text_of(map, a), text_of(copy, b));
      std::fflush(stdout);
    }
    shared_.violate(
        fmt::format("the copy of the map differs from it in family {}", static_cast<int>(family)));
    co_return;
  }
}

// All that check found, and the metadata, for whoever looks into a violation.
Task<void> Session::print_dump(CheckReport report) {
  for (const std::string& problem : report.problems) fmt::print("{}\n", problem);
  auto text = co_await dump_engine(process_.scheduler, *process_.engine);
  if (text) fmt::print("{}\n", *text);
  std::fflush(stdout);
}

void Session::note_crash() {
  PendingVerb& verb = shared_.pending;
  if (started_ && verb.kind == PendingVerb::Kind::kPolicies) capture_scheduled();
  if (!started_ || verb.kind != PendingVerb::Kind::kSnapshot) return;
  verb.captured.clear();
  for (const Spec& spec : verb.specs)
    verb.captured.push_back(shared_.oracle.capture(*shared_.oracle.disks[spec.disk], verb.set));
}

std::string Session::doing() const {
  std::string text = doing_;
  for (const auto& [id, what] : under_way_) text += "; " + what;
  Parts& parts = process_.engine->parts();
  const Staging& staging = parts.journal.staging();
  text += fmt::format(" (journal {} of {} bytes, staged {}, reserved {}, of {}; {} blocks free, {} pending)",
                      parts.journal.used_bytes(), parts.pool.superblock().journal_bytes, staging.used_bytes(),
                      staging.reserved_bytes(), staging.ring_bytes(), parts.allocator.free_blocks(),
                      parts.pending.blocks());
  return text;
}

Task<void> Session::finish(bool close) {
  doing_ = "waiting for the clients' last requests";
  co_await stop_clients();
  doing_ = "comparing";
  if (shared_.scene != nullptr && shared_.violation.empty() && !fault()) co_await run_policies();
  if (shared_.violation.empty()) co_await check_names();
  if (shared_.violation.empty()) co_await check_all(Moment::kNone);
  if (shared_.violation.empty() && !fault()) co_await check_ends();
  doing_ = "checking";
  if (shared_.violation.empty()) co_await check_store(true);
  if (shared_.violation.empty()) co_await count_blocks();
  if (shared_.violation.empty()) co_await count_charges();
  doing_ = "closing";
  if (close && shared_.violation.empty()) {
    auto closed = co_await process_.store->close();
    if (!closed) shared_.violate("close: " + closed.error().message);
  }
  finished_ = true;
}

}  // namespace coppice::sim
