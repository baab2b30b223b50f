// Going back: one disk or several as one, at rest or under clients that come back.
#include "world.h"

namespace coppice::test {

namespace {

// Who has the disk, and leaves when it is asked to, as a server's connection does.
struct Client {
  explicit Client(Scheduler& scheduler) : asked(scheduler) {}
  Device device;
  WaitQueue asked;
  bool leaves = false;

  void ask() {
    leaves = true;
    asked.wake_all();
  }
};

// On the heap until it has left; where the process dies it stays there.
Task<void> leave_when_asked(std::shared_ptr<Client> client) {
  while (!client->leaves) co_await client->asked.wait();
  client->device.reset();
}

}  // namespace

World::Targets World::some_targets() {
  Targets targets;
  for (std::uint64_t more = one_in(3) ? 3 : 1; more > 0; --more)
    if (const int target = some_snapshot(); target != 0) targets[nodes_.at(target).disk] = target;
  return targets;
}

std::vector<Spec> World::specs_of(const Targets& targets) const {
  std::vector<Spec> specs;
  for (const auto& [disk, target] : targets) specs.push_back(nodes_.at(target).spec());
  return specs;
}

void World::rollback() {
  const Targets targets = some_targets();
  if (targets.empty()) return;
  const std::vector<Spec> to = specs_of(targets);
  const std::string what = "rollback " + to.front().text() + " of " + std::to_string(to.size());
  RollbackOptions options;
  options.discard = one_in(3) || nodes_.size() > kMostNodes;
  if (!options.discard && (doomed_ || one_in(2))) options.keep_as = new_name("k");
  note(what + (options.discard ? " discard" : " keep " + options.keep_as));
  std::vector<Spec> twice = to;
  twice.push_back(to.front());
  for (const auto& [disk, target] : targets)
    require_busy_and_detach(disk, what, [&] { return store().rollback(to, options); });
  require_refused(run(store().rollback(twice, options)), ErrorKind::kInvalid, what + " twice");
  RollbackOptions rehearsal = options;
  rehearsal.dry_run = true;
  auto told = run(store().rollback(to, rehearsal));
  require(told, "dry run of " + what);
  expect(options.discard == told->empty(), what + " says it would keep '" + *told + "'");
  expect(options.keep_as.empty() || *told == options.keep_as, "kept under another name: " + *told);
  options.keep_as = *told;
  change(store().rollback(to, options), what, [=, this] { note_rollback(targets, options.keep_as); });
}

void World::note_rollback(const Targets& targets, const std::string& kept) {
  std::vector<int> kept_nodes;
  for (const auto& [disk, target] : targets) {
    const int old_head = head_of(disk);
    const ModelNode& to = nodes_.at(target);
    disks_.at(disk).head = add_node({target, disk, "", to.content, to.base});
    if (kept.empty()) {
      drop_node(old_head);
      continue;
    }
    ModelNode& old = nodes_.at(old_head);
    old.snapshot = kept;
    old.unflushed.clear();
    old.id = 0;
    kept_nodes.push_back(old_head);
  }
  record_group(kept_nodes);
}

void World::rollback_online() {
  const Targets targets = some_targets();
  if (targets.empty()) return;
  const std::vector<Spec> to = specs_of(targets);
  const std::string what = "rollback --online " + to.front().text() + " of " + std::to_string(to.size());
  note(what);
  bool same_sizes = true;
  std::map<std::string, std::shared_ptr<Client>> clients;
  for (const auto& [disk, target] : targets) {
    close(disk);
    if (active_of(disk) == nullptr) attach(disk, false);
    const auto client = std::make_shared<Client>(host_.scheduler());
    Holder holder{.description = "a client", .leave = [client](const std::string&) { client->ask(); }};
    auto opened = run(store().open_attachment(disk, active_of(disk)->token, std::move(holder)));
    require(opened, "open " + disk + " with a token");
    client->device = own(std::move(*opened));
    clients[disk] = client;
    same_sizes &= content_of(disk).size_bytes() == nodes_.at(target).content.size_bytes();
  }
  RollbackOptions options{.keep_as = new_name("k")};
  require_refused(run(store().rollback(to, options)), ErrorKind::kBusy, what + " without --online");
  options.online = true;
  for (const auto& [disk, client] : clients) spawn(leave_when_asked(client));
  const auto verb = [&] { return store().rollback(to, options); };
  if (!same_sizes) {
    require_refused(run(verb()), ErrorKind::kBusy, what + ", to another size");
    for (const auto& [disk, client] : clients) {
      expect(!client->leaves, "a client of " + disk + " left for a rollback that was refused");
      client->ask();
      client->device.reset();
    }
    return;
  }
  change(verb(), what, [=, this] { note_rollback(targets, options.keep_as); });
  for (const auto& [disk, client] : clients) {
    expect(client->leaves && !client->device, "a client of " + disk + " is still there");
    verify_content(device(disk), content_of(disk), disk + " for the client that came back");
  }
}

}  // namespace coppice::test
