#include "world.h"

#include <algorithm>
#include <cstdio>

namespace coppice::test {

namespace {
constexpr std::size_t kHistory = 40;
}

World::World(Reactor& reactor, std::string directory, std::uint64_t seed, std::uint64_t pool_bytes)
    : reactor_(reactor), directory_(std::move(directory)), random_(seed) {
  InitOptions options;
  options.directory = directory_;
  if (pool_bytes != 0) options.pools.push_back({directory_ + ".pool", pool_bytes});
  require(run(init_store(reactor_, options, {})), "init");
  auto opened = run(open_store(reactor_, {.directory = directory_, .notice = {}}));
  require(opened, "open");
  store_ = std::move(*opened);
  write_base();
  create();
}

World::~World() {
  devices_.clear();
  if (store_) (void)run(store_->close());
}

void World::note(std::string line) {
  history_.push_back(std::to_string(steps_) + " " + std::move(line));
  if (trace) std::fprintf(stderr, "%s\n", history_.back().c_str());
  if (history_.size() > kHistory) history_.pop_front();
}

int World::head_of(const std::string& disk) const {
  return heads_.at(disk);
}

std::string World::some_disk() {
  auto place = heads_.begin();
  std::advance(place, static_cast<std::ptrdiff_t>(below(heads_.size())));
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

void World::drop_node(int node) {
  const int parent = nodes_.at(node).parent;
  for (const int child : children_of(node)) nodes_.at(child).parent = parent;
  for (auto& [id, bookmark] : bookmarks_)
    if (bookmark.parent == node) bookmark.parent = parent;
  nodes_.erase(node);
}

bool World::cloned_away(int node, const std::set<int>& leaving) const {
  std::vector<int> below = children_of(node);
  while (!below.empty()) {
    const int child = below.back();
    below.pop_back();
    if (!leaving.contains(child) && nodes_.at(child).disk != nodes_.at(node).disk) return true;
    if (!leaving.contains(child)) continue;
    const std::vector<int> more = children_of(child);
    below.insert(below.end(), more.begin(), more.end());
  }
  return false;
}

std::unique_ptr<BlockDevice> World::open(const Spec& spec, Access access) {
  auto opened = run(store_->open_device(spec, access, Holder{"the model"}));
  require(opened, "open " + spec.text());
  return std::move(*opened);
}

BlockDevice& World::device(const std::string& disk) {
  auto& place = devices_[disk];
  if (!place) place = open({disk, ""}, Access::kReadWrite);
  expect(place->size_bytes() == nodes_.at(head_of(disk)).content.size_bytes(), disk + ": the device's size");
  return *place;
}

void World::detach(const std::string& disk) {
  devices_.erase(disk);
}

void World::step() {
  ++steps_;
  const std::uint64_t choice = below(1000);
  if (choice < 480) return one_request();
  if (choice < 560) return requests_apart();
  if (choice < 610) return requests_overlapping();
  if (choice < 690) return snapshot_some();
  if (choice < 730) return snapshot_among_writes();
  if (choice < 750) return snapshot_in_chain();
  if (choice < 780) return rollback();
  if (choice < 800) return clone();
  if (choice < 845) return remove();
  if (choice < 855) return remove_disk();
  if (choice < 865) return create();
  if (choice < 880) return rename();
  if (choice < 895) return resize();
  if (choice < 900) return set_policy();
  if (choice < 908) return flatten();
  if (choice < 930) return diff();
  if (choice < 960) return check_extents();
  if (choice < 970) return check_tree();
  if (choice < 980) return bad_input();
  if (choice < 988) return check_space();
  if (choice < 990) return remove_set();
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
  require(run(store_->close()), "close");
  store_.reset();
}

}  // namespace coppice::test
