// The invariants of a store, verified from what is on disk. Writers are held off only while the state to look
// at is captured (a checkpoint, an iterator over it, a copy of the allocation) and while a piece of data is
// read. The caller sees to it that nothing is being reclaimed and no verb runs.
#include <fmt/format.h>

#include <algorithm>
#include <memory>
#include <optional>
#include <unordered_map>
#include <vector>

#include "base/hash.h"
#include "coppice/aligned_buffer.h"
#include "layout/keys.h"
#include "store/meta_restore.h"
#include "store/store_impl.h"

namespace coppice {

namespace {

constexpr std::size_t kMaxProblems = 100;
constexpr std::size_t kVersionsChecked = 4096;
constexpr std::uint64_t kReadBlocks = 256;

struct RawVersion {
  std::string key;
  std::string value;
};

// Which block of a disk a physical block holds, and since when: the same for all who see it.
struct Claim {
  std::uint64_t block = 0;
  std::uint64_t birth = 0;
  bool operator==(const Claim&) const = default;
};

// Holds every writer off its whole disk, between requests.
class WritersHeldOff {
 public:
  Task<void> acquire(const std::vector<std::shared_ptr<Head>>& heads) {
    for (const auto& head : heads) {
      auto held = std::make_unique<Held>();
      held->head = head;
      held->entry.end = UINT64_MAX;
      held_.push_back(std::move(held));
      co_await head->lock.acquire(held_.back()->entry);
    }
  }
  WritersHeldOff() = default;
  ~WritersHeldOff() {
    for (const auto& held : held_) held->head->lock.release(held->entry);
  }
  WritersHeldOff(const WritersHeldOff&) = delete;
  WritersHeldOff& operator=(const WritersHeldOff&) = delete;

 private:
  struct Held {
    std::shared_ptr<Head> head;
    RangeLock::Entry entry;
  };
  std::vector<std::unique_ptr<Held>> held_;
};

class Checker {
 public:
  Checker(Scheduler& scheduler, Engine& engine) : scheduler_(scheduler), engine_(engine) {}

  Task<Outcome<CheckReport>> run(bool read_data);

 private:
  void problem(std::string text) {
    if (report_.problems.size() < kMaxProblems) report_.problems.push_back(std::move(text));
  }
  void check_tree();
  void check_version(const RawVersion& version);
  void check_run(const LeafKey& key, const LeafRun& run);
  void check_allocation();
  Task<Result<>> capture();
  Task<Result<>> check_versions();
  Task<Result<>> check_checksums();
  Task<Result<>> check_data();
  Task<Result<>> check_blocks(PhysicalRun run, std::span<std::byte> buffer);
  Task<bool> may_be_seen(PhysicalBlock address);
  Task<void> check_copy();

  Scheduler& scheduler_;
  Engine& engine_;
  CheckReport report_;
  std::unique_ptr<MetaIterator> versions_;
  std::optional<Allocator::OwnedCopy> owned_;
  std::unordered_map<std::uint64_t, Claim> claims_;
  std::vector<std::uint64_t> blocks_;  // their keys, in order
};

void Checker::check_tree() {
  const Tree& tree = engine_.tree();
  for (const auto& [id, node] : tree.nodes()) {
    const NodeValue& value = node.value;
    if (!tree.branches().contains(value.branch)) {
      problem(fmt::format("node {} is on branch {}, which is not there", id.value, value.branch.value));
      continue;
    }
    if (value.parent.value == 0) continue;
    const TreeNode* parent = tree.node(value.parent);
    if (parent == nullptr) {
      problem(fmt::format("node {} has parent {}, which is not there", id.value, value.parent.value));
    } else if (parent->value.epoch >= tree.epoch_of(node)) {
      problem(fmt::format("node {} is not younger than its parent {}", id.value, value.parent.value));
    }
  }
  for (const auto& [id, branch] : tree.branches()) {
    if (branch.parent.value != 0 && !tree.branches().contains(branch.parent)) {
      problem(
          fmt::format("branch {} came from branch {}, which is not there", id.value, branch.parent.value));
    }
  }
  for (const auto& [id, disk] : tree.disks()) {
    const TreeNode* head = tree.node(disk.value.head);
    if (head == nullptr || head->value.state != NodeState::kHead || head->value.disk != id) {
      problem(fmt::format("disk {} has no head", disk.value.name));
    }
  }
}

void Checker::check_run(const LeafKey& key, const LeafRun& run) {
  if (run.kind != LeafRun::Kind::kData) return;
  if (run.birth > key.version) {
    problem(fmt::format("leaf {} of branch {} at epoch {} holds a block of epoch {}", key.leaf.value,
                        key.branch.value, key.version.value, run.birth.value));
  }
  for (unsigned i = 0; i < run.count; ++i) {
    const PhysicalBlock physical = run.physical.next(i);
    const Claim claim{first_block(key.leaf).value + run.first + i, run.birth.value};
    const auto [place, is_new] = claims_.try_emplace(physical.value, claim);
    if (!is_new && place->second != claim) {
      problem(fmt::format("physical block {:#x} holds block {} (epoch {}) and block {} (epoch {})",
                          physical.value, place->second.block, place->second.birth, claim.block,
                          claim.birth));
    }
    if (is_new && !owned_->owned(physical)) {
      problem(fmt::format("block {} of branch {} stands at {:#x}, which is not allocated", claim.block,
                          key.branch.value, physical.value));
    }
  }
}

void Checker::check_version(const RawVersion& raw) {
  const auto key = decode_leaf_key(raw.key);
  const auto* bytes = reinterpret_cast<const std::byte*>(raw.value.data());
  const auto leaf = Leaf::decode({bytes, raw.value.size()});
  if (!key || !leaf) {
    problem("a leaf of the map can't be read");
    return;
  }
  ++report_.leaves;
  if (!engine_.tree().branches().contains(key->branch)) {
    problem(
        fmt::format("leaf {} belongs to branch {}, which is not there", key->leaf.value, key->branch.value));
  }
  for (const LeafRun& run : leaf->runs()) check_run(*key, run);
}

Task<Result<>> Checker::capture() {
  WritersHeldOff quiet;
  const auto heads = engine_.open_heads();
  co_await quiet.acquire(heads);
  auto written = co_await engine_.checkpointer().run();
  if (!written) co_return written;
  owned_.emplace(engine_.parts().allocator.copy_owned());
  versions_ = co_await in_background(scheduler_, [this] {
    auto made = engine_.meta().iterate(Family::kLeaf, Reach::kAll);
    made->seek("");
    return made;
  });
  co_return Result<>{};
}

Task<Result<>> Checker::check_versions() {
  MetaIterator& iterator = *versions_;
  while (true) {
    auto some = co_await in_background(scheduler_, [&iterator] {
      std::vector<RawVersion> versions;
      for (; iterator.valid() && versions.size() < kVersionsChecked; iterator.next()) {
        versions.push_back({std::string(iterator.key()), std::string(iterator.value())});
      }
      return versions;
    });
    for (const RawVersion& version : some) check_version(version);
    if (some.size() < kVersionsChecked) co_return iterator.status();
  }
}

void Checker::check_allocation() {
  const std::uint64_t owned = owned_->data_blocks();
  report_.blocks = claims_.size();
  if (claims_.size() < owned) {
    problem(
        fmt::format("{} blocks are allocated, but no disk or snapshot sees them", owned - claims_.size()));
  }
}

// What only dead nodes hold is on its way back, and nobody reads it. A power cut may have torn it: a snapshot
// that was not completed then is such a node, and its head may have written elsewhere since, so that the
// scrub of what it sees did not come to the block.
Task<bool> Checker::may_be_seen(PhysicalBlock address) {
  Tree& tree = engine_.tree();
  if (tree.dead_nodes().empty() || report_.problems.size() >= kMaxProblems) co_return true;
  const BlockIndex block{claims_[address.value].block};
  std::vector<NodeId> nodes;
  for (const auto& [id, node] : tree.nodes()) nodes.push_back(id);
  for (const NodeId id : nodes) {
    const TreeNode* node = tree.node(id);
    if (node == nullptr || node->value.state == NodeState::kDead) continue;
    auto leaf = co_await engine_.map().load(tree.view_of(*node), leaf_of(block));
    if (!leaf) co_return true;
    const LeafRun run = (*leaf)->leaf.run_at(index_in_leaf(block));
    engine_.map().unpin(*leaf);
    if (run.kind == LeafRun::Kind::kData && run.physical == address) co_return true;
  }
  co_return false;
}

Task<Result<>> Checker::check_blocks(PhysicalRun run, std::span<std::byte> buffer) {
  Parts& parts = engine_.parts();
  WritersHeldOff quiet;
  const auto heads = engine_.open_heads();
  co_await quiet.acquire(heads);
  const std::span<std::byte> into = buffer.first(run.count * kBlockBytes);
  auto read = co_await read_blocks(parts.pool.file(run.first.member()), run.first.offset_bytes(), into);
  if (!read) co_return read;
  auto pinned = co_await parts.checksums.pin(run);
  if (!pinned) co_return pinned;
  for (std::uint64_t i = 0; i < run.count; ++i) {
    const PhysicalBlock address = run.first.next(i);
    const std::span<const std::byte, kBlockBytes> block(into.data() + i * kBlockBytes, kBlockBytes);
    if (!parts.allocator.owned(address)) continue;  // freed since
    const auto expected = parts.checksums.get(address);
    if (!expected) {
      problem(fmt::format("physical block {:#x}: its checksum is unknown", address.value));
    } else if (*expected != block_checksum(block, address) && !parts.granules.suspect(address) &&
               co_await may_be_seen(address)) {
      problem(fmt::format("physical block {:#x} (block {} of a disk) does not match its checksum",
                          address.value, claims_[address.value].block));
    }
  }
  parts.checksums.unpin(run);
  co_return Result<>{};
}

// Blocks of which no checksum is known: both copies of a page are lost, or a write in place failed.
Task<Result<>> Checker::check_checksums() {
  Parts& parts = engine_.parts();
  for (const std::uint64_t physical : blocks_) {
    const PhysicalRun one{PhysicalBlock{physical}, 1};
    auto pinned = co_await parts.checksums.pin(one);
    const bool known = pinned && parts.checksums.get(one.first).has_value();
    if (pinned) parts.checksums.unpin(one);
    if (!known && parts.allocator.owned(one.first)) ++report_.unverifiable;
  }
  if (report_.unverifiable != 0)
    problem(fmt::format("{} blocks have lost their checksums and can't be read", report_.unverifiable));
  co_return Result<>{};
}

Task<Result<>> Checker::check_data() {
  const std::vector<std::uint64_t>& blocks = blocks_;
  AlignedBuffer buffer(kReadBlocks * kBlockBytes);
  for (std::size_t i = 0; i < blocks.size();) {
    PhysicalRun run{PhysicalBlock{blocks[i]}, 1};
    while (i + run.count < blocks.size() && run.count < kReadBlocks &&
           blocks[i + run.count] == blocks[i] + run.count) {
      ++run.count;
    }
    auto checked = co_await check_blocks(run, buffer.span());
    if (!checked) {
      problem(fmt::format("physical blocks {:#x}, {} of them: {}", run.first.value, run.count,
                          checked.error().text));
    }
    i += run.count;
  }
  co_return Result<>{};
}

// The copy of the map in the pool, read to its end. It may get a new base meanwhile, even twice, in the place
// of the old one: then once more.
Task<void> Checker::check_copy() {
  Pool& pool = engine_.parts().pool;
  while (true) {
    const std::uint64_t generation = pool.superblock().generation;
    auto found = co_await read_copy(pool, nullptr, CopyPart::kAll);
    if (!found && generation != pool.superblock().generation) continue;
    report_.metadata_copy = found ? "whole" : "damaged";
    if (found) report_.metadata_copy_bytes = found->bytes;
    if (!found && found.error().kind == ErrorKind::kNotFound) report_.metadata_copy = "none";
    if (report_.metadata_copy != "damaged") co_return;
    problem(fmt::format("{}: it is made anew when the store runs", found.error().text));
    engine_.copy().renew();
    co_return;
  }
}

Task<Outcome<CheckReport>> Checker::run(bool read_data) {
  auto captured = co_await capture();
  if (!captured) co_return refuse(captured.error(), "the store");
  check_tree();
  auto read = co_await check_versions();
  if (!read) co_return refuse(read.error().kind, engine_.map_failure(read.error()));
  check_allocation();
  co_await check_copy();
  blocks_.reserve(claims_.size());
  for (const auto& [physical, claim] : claims_) blocks_.push_back(physical);
  std::sort(blocks_.begin(), blocks_.end());
  read = co_await check_checksums();
  if (read && read_data) {
    read = co_await check_data();
    if (!read) co_return refuse(read.error(), "the pool");
  }
  co_return std::move(report_);
}

}  // namespace

Task<Outcome<CheckReport>> check_engine(Scheduler& scheduler, Engine& engine, bool read_data) {
  Checker checker(scheduler, engine);
  auto report = co_await checker.run(read_data);
  co_return report;
}

}  // namespace coppice
