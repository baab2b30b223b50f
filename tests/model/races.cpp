// Snapshots among writes in flight: what completed before is in, what started after is out, what was under
// way is in or out as a whole block; and over several disks, one point in time.
#include <algorithm>

#include "request.h"

namespace coppice::test {

Task<void> World::snapshot_and_note(Spec spec, Outcome<>& taken, Latch& latch) {
  std::vector<Spec> specs;
  specs.push_back(std::move(spec));
  taken = co_await store().snapshot(std::move(specs), SnapshotOptions{});
  latch.arrive();
}

// `before` is in flight when the snapshot is asked for, `after` is issued once it has been taken.
Task<void> World::write_around_snapshot(BlockDevice& device, std::vector<Request>& before,
                                        std::vector<Request>& after, Spec spec, Outcome<>& taken) {
  Latch all(static_cast<std::uint32_t>(before.size()));
  Latch snapshot(1);
  for (Request& request : before) spawn(perform(device, request, all));
  spawn(snapshot_and_note(std::move(spec), taken, snapshot));
  co_await snapshot;
  Latch rest(static_cast<std::uint32_t>(after.size()));
  for (Request& request : after) spawn(perform(device, request, rest));
  co_await all;
  co_await rest;
}

void World::snapshot_among_writes() {
  host_.arm(0);  // what a crash within may leave is the simulator's to say
  const std::string disk = some_disk();
  const int head = head_of(disk);
  const Content old = nodes_.at(head).content;
  Content changed = old;
  std::vector<Request> before;
  std::vector<Request> after;
  std::vector<bool> used(old.blocks());
  for (std::uint64_t tries = 2 + below(40); tries > 0; --tries) {
    Request request = random_request(old, 64 << 10);
    if (!request.changes()) continue;
    bool apart = true;
    for (std::uint64_t block = request.first_block(); block < request.end_block(); ++block)
      apart = apart && !used[block];
    if (!apart) continue;
    for (std::uint64_t block = request.first_block(); block < request.end_block(); ++block)
      used[block] = true;
    apply(changed, request);
    before.push_back(std::move(request));
  }
  if (before.empty()) return;
  // The same places again, right after: none of it may show in the snapshot.
  for (const Request& request : before) {
    if (request.kind != Request::Kind::kWrite) continue;
    Request again = request;
    again.bytes = random_bytes(request.range.length);
    after.push_back(std::move(again));
    if (after.size() == 8) break;
  }
  const std::string name = new_name("r");
  const Spec spec{disk, name};
  std::string among;
  for (const Request& request : before) among += ", " + request.text();
  note(spec.text() + " among " + std::to_string(before.size()) + " requests" + among);
  Outcome<> taken;
  run(write_around_snapshot(device(disk), before, after, spec, taken));
  require(taken, spec.text());
  for (const Request& request : before) require(request.answer, spec.text() + ": a request before");
  for (const Request& request : after) require(request.answer, spec.text() + ": a request after");

  // A second write of a range waits for the first, so the head is known; the snapshot is found out block by
  // block.
  Content live = changed;
  for (const Request& request : after) apply(live, request);
  Content content = old;
  const auto reader = open(spec, Access::kReadOnly);
  std::vector<std::byte> block(kBlockBytes);
  for (std::uint64_t index = 0; index < old.blocks(); ++index) {
    if (old.block(index) == changed.block(index)) continue;
    const std::uint64_t length = std::min(kBlockBytes, old.size_bytes() - index * kBlockBytes);
    const auto part = std::span(block).first(length);
    require(run(reader->read(index * kBlockBytes, part)), spec.text());
    const bool is_new = changed.first_difference(index * kBlockBytes, part) == Content::kEqual;
    const bool is_old = old.first_difference(index * kBlockBytes, part) == Content::kEqual;
    expect(is_new || is_old, spec.text() + ": block " + std::to_string(index) + " is neither old nor new");
    if (is_new && is_old) {
      // Zeroes over zeroes: nobody can tell, so nothing is known of its versions.
      blur(index, old.block(index));
      const bool again = live.block(index) != changed.block(index);
      content.set_block(index, either_version(old.block(index)));
      if (!again) live.set_block(index, either_version(old.block(index)));
    } else if (is_new) {
      content.set_block(index, changed.block(index));
    }
  }
  nodes_.at(head).content = live;
  // The snapshot made durable what came before it.
  nodes_.at(head).unflushed.clear();
  for (std::uint64_t index = 0; index < old.blocks(); ++index) {
    if (old.block(index) == live.block(index)) continue;
    note_unflushed(nodes_.at(head), index, old.block(index), changed.block(index));
    note_unflushed(nodes_.at(head), index, content.block(index), live.block(index));
  }
  const int node = add_node({nodes_.at(head).parent, disk, name, std::move(content), nodes_.at(head).base});
  nodes_.at(head).parent = node;
  verify_node(node);
  verify_node(head);
}

// One writer goes round the disks, each write after the last one's answer: 1, 2, 3, … A snapshot of all of
// them must hold the writes 1 … n for one n.
struct World::Chain {
  struct Place {
    BlockDevice* device;
    std::uint64_t offset;
  };
  std::vector<Place> places;
  std::vector<std::vector<std::byte>> payloads;  // of each write
  std::uint64_t answered = 0;
  std::uint64_t answered_before_snapshot = 0;
  std::uint64_t issued_after_snapshot = 0;  // how many had been issued when the snapshot was there
  std::uint64_t issued = 0;
  std::uint64_t snapshot_at = 0;
  WaitQueue* started = nullptr;
  Result<> answer;
  Outcome<> taken;
};

Task<void> World::run_chain(Chain& chain, Latch& latch) {
  for (std::uint64_t at = 0; at < chain.payloads.size() && chain.answer; ++at) {
    const Chain::Place place = chain.places[at % chain.places.size()];
    chain.issued = at + 1;
    if (at == chain.snapshot_at) chain.started->wake_all();
    chain.answer = co_await place.device->write(place.offset, chain.payloads[at], WriteFlags{});
    chain.answered = at + 1;
  }
  chain.started->wake_all();
  latch.arrive();
}

Task<void> World::snapshot_chain(Chain& chain, std::vector<Spec> specs, Latch& latch) {
  while (chain.issued <= chain.snapshot_at && chain.answer) co_await chain.started->wait();
  chain.answered_before_snapshot = chain.answered;
  chain.taken = co_await store().snapshot(std::move(specs), SnapshotOptions{});
  chain.issued_after_snapshot = chain.issued;
  latch.arrive();
}

void World::snapshot_in_chain() {
  host_.arm(0);
  std::vector<std::string> disks;
  for (const auto& [disk, head] : disks_)
    if (disks.size() < 4) disks.push_back(disk);
  const std::string name = new_name("g");
  Chain chain;
  std::vector<Spec> specs;
  for (const std::string& disk : disks) {
    const Content& content = nodes_.at(head_of(disk)).content;
    chain.places.push_back({&device(disk), below(content.size_bytes() - 8191)});
    specs.push_back({disk, name});
  }
  const std::uint64_t length = 1 + below(8192);
  for (std::uint64_t count = disks.size() * (3 + below(8)); count > 0; --count) {
    chain.payloads.push_back(random_bytes(length));
    const std::uint64_t number = chain.payloads.size();  // no two alike, also if short
    std::memcpy(chain.payloads.back().data(), &number, std::min<std::uint64_t>(length, 1));
  }
  chain.snapshot_at = below(chain.payloads.size());
  note("group snapshot @" + name + " of " + std::to_string(disks.size()) + " disks in a chain of " +
       std::to_string(chain.payloads.size()));
  WaitQueue started(host_.scheduler());
  chain.started = &started;
  run([](World& world, Chain& all, std::vector<Spec> names) -> Task<void> {
    Latch latch(2);
    spawn(world.run_chain(all, latch));
    spawn(world.snapshot_chain(all, std::move(names), latch));
    co_await latch;
  }(*this, chain, specs));
  require(chain.answer, "chain @" + name);
  require(chain.taken, "group snapshot @" + name);

  // Which n is it? Every one between what was answered before and what was issued until it was there is
  // legal.
  std::vector<Content> contents;
  for (const std::string& disk : disks) contents.push_back(nodes_.at(head_of(disk)).content);
  std::vector<Device> readers;
  for (const Spec& spec : specs) readers.push_back(open(spec, Access::kReadOnly));
  bool found = false;
  std::vector<std::byte> read(length);
  for (std::uint64_t n = 0; n <= chain.payloads.size(); ++n) {
    if (n > 0) {
      const std::size_t i = (n - 1) % disks.size();
      const std::uint64_t offset = chain.places[i].offset;
      const Content before = contents[i];
      contents[i].write(offset, chain.payloads[n - 1]);
      for (std::uint64_t block = offset / kBlockBytes; block * kBlockBytes < offset + length; ++block)
        note_unflushed(nodes_.at(head_of(disks[i])), block, before.block(block), contents[i].block(block));
    }
    if (n < chain.answered_before_snapshot || n > chain.issued_after_snapshot || found) continue;
    found = true;
    for (std::size_t i = 0; i < disks.size(); ++i) {
      require(run(readers[i]->read(chain.places[i].offset, read)), specs[i].text());
      found = found && contents[i].first_difference(chain.places[i].offset, read) == Content::kEqual;
    }
    if (!found) continue;
    std::vector<int> taken;
    for (std::size_t i = 0; i < disks.size(); ++i) {
      const int head = head_of(disks[i]);
      const int node = add_node({nodes_.at(head).parent, disks[i], name, contents[i], nodes_.at(head).base});
      nodes_.at(head).parent = node;
      taken.push_back(node);
    }
    record_group(taken);
  }
  expect(found, "group snapshot @" + name + " is no point in time");
  for (std::size_t i = 0; i < disks.size(); ++i) nodes_.at(head_of(disks[i])).content = contents[i];
}

}  // namespace coppice::test
