// The metadata as text: one fact a line, in an order that diff(1) likes.
#include <fmt/format.h>

#include <bit>

#include "layout/keys.h"
#include "store/store_impl.h"

namespace coppice {

namespace {

const char* state_name(NodeState state) {
  switch (state) {
    case NodeState::kHead:
      return "head";
    case NodeState::kSnapshot:
      return "snapshot";
    case NodeState::kDead:
      return "dead";
  }
  return "?";
}

void dump_pool(Parts& parts, std::string& into) {
  for (std::uint64_t member = 0; member < parts.pool.members().size(); ++member) {
    const Superblock& block = parts.pool.superblock(member);
    into += fmt::format(
        "pool {} path={} store={} version={} generation={} opens={} slabs={} slab_blocks={} grows={}\n",
        member, parts.pool.file(member).path(), to_text(block.store), block.version, block.generation,
        block.open_generation, block.slab_count, block.slab_blocks, block.grows);
    if (member == 0) {
      into += fmt::format("journal offset={} bytes={} used={} sequence={} staged={} durable={}\n",
                          block.journal_offset_bytes, block.journal_bytes, parts.journal.used_bytes(),
                          parts.journal.point().sequence, parts.journal.staged(), parts.journal.durable());
    }
  }
  into += fmt::format("blocks capacity={} owned={} free={} quarantined={}\n", parts.allocator.data_blocks(),
                      parts.allocator.owned_data_blocks(), parts.allocator.free_blocks(),
                      parts.pending.quarantined_blocks());
}

void dump_tree(const Tree& tree, std::string& into) {
  for (const auto& [id, disk] : tree.disks()) {
    into += fmt::format("disk {} name={} head={}{}\n", id.value, disk.value.name, disk.value.head.value,
                        disk.value.strict() ? " strict" : "");
  }
  for (const auto& [id, trashed] : tree.trash()) {
    into += fmt::format("trash {} removed={}\n", id.value, trashed.removed_unix_ms);
  }
  for (const auto& [id, schedule] : tree.schedules()) {
    into += fmt::format("schedule {} hourly={} daily={} weekly={} monthly={} last={}\n", id.value,
                        schedule.hourly, schedule.daily, schedule.weekly, schedule.monthly,
                        schedule.last_unix_ms);
  }
  // Tokens are left out: a dump is shown to others.
  for (const auto& [id, attachments] : tree.attachments()) {
    into += fmt::format("attachments {} last_epoch={}\n", id.value, attachments.last_epoch);
    for (const AttachmentValue& each : attachments.all) {
      into += fmt::format("  epoch={} state={} created={} label={}\n", each.epoch,
                          static_cast<unsigned>(each.state), each.created_unix_ms, each.label);
    }
  }
  for (const auto& [root, base] : tree.bases()) {
    into += fmt::format("base of={} size={} inode={} changed_ns={} samples={:#x}{}{} path={}\n", root.value,
                        base.size_bytes, base.inode, base.changed_ns, base.samples,
                        base.is_device ? " device" : "", base.flattening ? " flattening" : "", base.path);
  }

  for (const auto& [id, value] : tree.bookmarks()) {
    into +=
        fmt::format("bookmark {} disk={} branch={} epoch={} size={} name={}\n", id.value, value.disk.value,
                    value.branch.value, value.epoch.value, value.size_bytes, value.name);
  }
  for (const auto& [id, branch] : tree.branches()) {
    into += fmt::format("branch {} parent={} fork_epoch={} current={}\n", id.value, branch.parent.value,
                        branch.fork_epoch.value, branch.current.value);
  }
  for (const auto& [id, node] : tree.nodes()) {
    const NodeValue& value = node.value;
    into +=
        fmt::format("node {} {} parent={} disk={} branch={} epoch={} size={} name={} cursor={}\n", id.value,
                    state_name(value.state), value.parent.value, value.disk.value, value.branch.value,
                    value.epoch.value, value.size_bytes, value.name, value.cursor.value);
  }
}

std::string dump_leaf(std::string_view raw_key, std::string_view raw_value) {
  const auto key = decode_leaf_key(raw_key);
  const auto leaf = Leaf::decode({reinterpret_cast<const std::byte*>(raw_value.data()), raw_value.size()});
  if (!key || !leaf) return "leaf damaged\n";
  std::string line =
      fmt::format("leaf branch={} leaf={} epoch={}", key->branch.value, key->leaf.value, key->version.value);
  for (const LeafRun& run : leaf->runs()) {
    if (run.kind == LeafRun::Kind::kZero) {
      line += fmt::format(" {}+{}=zero/{}", run.first, run.count, run.birth.value);
    } else {
      line += fmt::format(" {}+{}={:#x}/{}", run.first, run.count, run.physical.value, run.birth.value);
    }
  }
  return line + "\n";
}

}  // namespace

Task<Outcome<std::string>> dump_engine(Scheduler& scheduler, Engine& engine) {
  auto written = co_await engine.checkpointer().run();
  if (!written) co_return refuse(written.error(), "the store");
  std::string text;
  dump_pool(engine.parts(), text);
  dump_tree(engine.tree(), text);
  MetaStore& meta = engine.meta();
  auto read = co_await in_background(scheduler, [&meta, &text]() -> Result<> {
    auto leaves = meta.iterate(Family::kLeaf, Reach::kAll);
    for (leaves->seek(""); leaves->valid(); leaves->next()) text += dump_leaf(leaves->key(), leaves->value());
    auto changes = meta.iterate(Family::kChange, Reach::kAll);
    for (changes->seek(""); changes->valid(); changes->next()) {
      const auto key = decode_change_key(changes->key());
      const auto mask = decode_mask(changes->value());
      if (!key || !mask) continue;
      text += fmt::format("change branch={} epoch={} leaf={} blocks={}\n", key->branch.value,
                          key->epoch.value, key->leaf.value, std::popcount(*mask));
    }
    return leaves->status();
  });
  if (!read) co_return refuse(read.error(), "the store's map");
  co_return text;
}

}  // namespace coppice
