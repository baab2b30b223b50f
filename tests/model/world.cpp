#include "world.h"

#include <algorithm>
#include <cstdio>

namespace coppice::test {

namespace {
constexpr std::size_t kHistory = 40;
}

World::World(Host& host, std::uint64_t seed, std::uint64_t crash_every, std::string dump_path)
    : host_(host), dump_path_(std::move(dump_path)), random_(seed), crash_every_(crash_every) {
  write_base();
  require(host_.open(), "open");
  create();
}

World::~World() {
  devices_.clear();
}

void World::note(std::string line) {
  history_.push_back(std::to_string(steps_) + " " + std::move(line));
  if (trace) std::fprintf(stderr, "%s\n", history_.back().c_str());
  if (history_.size() > kHistory) history_.pop_front();
}

std::string World::some_disk() {
  auto place = disks_.begin();
  std::advance(place, static_cast<std::ptrdiff_t>(below(disks_.size())));
  return place->first;
}

int World::some_node() {
  auto place = nodes_.begin();
  std::advance(place, static_cast<std::ptrdiff_t>(below(nodes_.size())));
  return place->first;
}

int World::some_snapshot() {
  std::vector<int> snapshots;
  for (const auto& [id, node] : nodes_)
    if (!node.snapshot.empty()) snapshots.push_back(id);
  return snapshots.empty() ? 0 : snapshots[below(snapshots.size())];
}

std::vector<int> World::children_of(int node) const {
  std::vector<int> children;
  for (const auto& [id, other] : nodes_)
    if (other.parent == node) children.push_back(id);
  return children;
}

std::vector<int> World::nodes_of(const std::string& disk) const {
  std::vector<int> found;
  for (const auto& [id, node] : nodes_)
    if (node.disk == disk) found.push_back(id);
  return found;
}

int World::add_node(ModelNode node) {
  nodes_.emplace(++last_node_, std::move(node));
  return last_node_;
}

void World::leave_node(int node, int parent) {
  each_node([&](ModelNode& other) {
    if (other.parent == node) other.parent = parent;
  });
}

void World::drop_node(int node) {
  leave_node(node, nodes_.at(node).parent);
  nodes_.erase(node);
}

bool World::cloned_away(int node, const std::set<int>& leaving, bool to_trash) const {
  std::vector<int> open{node};
  while (!open.empty()) {
    const int at = open.back();
    open.pop_back();
    for (const ModelTrash& trash : trash_)
      for (const auto& [id, other] : trash.nodes)
        if (!to_trash && other.parent == at) return true;
    for (const int child : children_of(at)) {
      if (leaving.contains(child)) {
        open.push_back(child);
      } else if (nodes_.at(child).disk != nodes_.at(node).disk) {
        return true;
      }
    }
  }
  return false;
}

Device World::open(const Spec& spec, Access access) {
  auto opened = run(store().open_device(spec, access, Holder{"the model"}));
  require(opened, "open " + spec.text());
  return own(std::move(*opened));
}

BlockDevice& World::device(const std::string& disk) {
  auto& place = devices_[disk];
  if (const ModelAttachment* attachment = active_of(disk); !place && attachment != nullptr) {
    auto opened = run(store().open_attachment(disk, attachment->token, Holder{"the model"}));
    require(opened, "open " + disk + " with a token");
    place = own(std::move(*opened));
  }
  if (!place) place = open({disk, ""}, Access::kReadWrite);
  expect(place->size_bytes() == content_of(disk).size_bytes(), disk + ": the device's size");
  return *place;
}

// One that dies does so within it, or behind it.
void World::step() {
  ++steps_;
  try {
    doomed_ = host_.dies() && crash_every_ != 0 && one_in(crash_every_);
    if (doomed_) {
      learn_heads();
      host_.arm(1 + below(one_in(3) ? 3000 : one_in(2) ? 300 : 60));
    }
    one_step();
    if (doomed_) host_.die();
  } catch (const Crashed&) {
  }
  if (doomed_) recover();
  doomed_ = false;
  diff();
}

void World::one_step() {
  const std::uint64_t choice = below(1000);
  if (choice < 450) return one_request();
  if (choice < 530) return requests_apart();
  if (choice < 580) return requests_overlapping();
  if (choice < 660) return snapshot_some();
  if (choice < 700) return snapshot_among_writes();
  if (choice < 720) return snapshot_in_chain();
  if (choice < 750) return rollback();
  if (choice < 770) return clone();
  if (choice < 815) return remove();
  if (choice < 822) return remove_disk();
  if (choice < 832) return trash();
  if (choice < 842) return undelete();
  if (choice < 845) return purge();
  if (choice < 855) return create();
  if (choice < 870) return rename();
  if (choice < 885) return resize();
  if (choice < 890) return set_policy();
  if (choice < 898) return flatten();
  if (choice < 908) return hold();
  if (choice < 916) return expire();
  if (choice < 921) return schedule();
  if (choice < 931) return run_policies();
  if (choice < 936) return rollback_online();
  if (choice < 940) return quota();
  if (choice < 952) return attach();
  if (choice < 953) return fill_pool();
  if (choice < 956) return change_base();
  if (choice < 968) return check_extents();
  if (choice < 974) return check_tree();
  if (choice < 978) return one_in(2) ? check_range() : check_group();
  if (choice < 982) return bad_input();
  if (choice < 987) return check_space();
  if (choice < 989) return remove_set();
  if (choice < 992) return one_in(2) ? keep_changes() : diff_bookmark();
  if (choice < 994) return reopen();
  if (choice < 997) return check_store(one_in(2));
  verify_node(some_node());
}

void World::verify_all() {
  for (const auto& [id, node] : nodes_) verify_node(id);
  check_tree();
  check_store(true);
}

void World::shut_down() {
  devices_.clear();
  require(host_.close(), "close");
}

}  // namespace coppice::test
