// World: a store and, beside it, everything that must be true of it.
//
// Plain calls; each runs the reactor until the store has answered. A broken expectation throws Mismatch. The
// random numbers never depend on what the store answers in what order, so a seed replays.
#pragma once

#include <deque>
#include <map>
#include <random>
#include <set>
#include <stdexcept>
#include <string>

#include "content.h"
#include "coppice/store.h"

namespace coppice::test {

struct Mismatch : std::runtime_error {
  using std::runtime_error::runtime_error;
};

// A live node. Dead ones leave the picture: what stood on them stands on their parent.
struct ModelNode {
  int parent = 0;  // 0: none
  std::string disk;
  std::string snapshot;  // empty: the head
  Content content;
  int base = 0;               // 0: it stands on none; else the same for all that stand on one together
  bool changes_only = false;  // a bookmark: nothing stands on it
  [[nodiscard]] Spec spec() const { return {disk, snapshot}; }
};

class World {
 public:
  World(Reactor& reactor, std::string directory, std::uint64_t seed, std::uint64_t pool_bytes = 0);
  ~World();
  World(const World&) = delete;
  World& operator=(const World&) = delete;

  // One random step. Every kind is a member below.
  void step();
  // Every node byte for byte, the tree's shape, the invariants.
  void verify_all();
  void shut_down();
  [[nodiscard]] const std::deque<std::string>& history() const { return history_; }

  bool trace = false;  // prints each operation before it is done

  // Chance.
  std::uint64_t below(std::uint64_t end) {
    return std::uniform_int_distribution<std::uint64_t>(0, end - 1)(random_);
  }
  bool one_in(std::uint64_t count) { return below(count) == 0; }

 private:
  template <class T>
  T run(Task<T> task) {
    return reactor_.run(std::move(task));
  }
  template <class R>
  void require(const R& result, const std::string& what) {
    if (result) return;
    if constexpr (std::is_same_v<typename R::error_type, Failure>) {
      throw Mismatch(what + ": " + result.error().message);
    } else {
      throw Mismatch(what + ": " + result.error().text + " (errno " +
                     std::to_string(result.error().errno_value) + ")");
    }
  }
  template <class R>
  void require_refused(const R& result, ErrorKind kind, const std::string& what) {
    if (result) throw Mismatch(what + ": was not refused");
    if (result.error().kind != kind)
      throw Mismatch(what + ": refused as " + kind_name(result.error().kind) + " (" + result.error().message +
                     ")");
    if (result.error().message.empty() || result.error().message.find('\n') != std::string::npos)
      throw Mismatch(what + ": the refusal is not one line");
  }
  static void expect(bool truth, const std::string& what) {
    if (!truth) throw Mismatch(what);
  }
  void note(std::string line);

  // Nodes and names.
  int head_of(const std::string& disk) const;
  std::string some_disk();
  int some_snapshot();  // 0 if there is none
  int some_node();
  std::string new_name(const char* prefix) { return prefix + std::to_string(++names_); }
  std::vector<int> children_of(int node) const;
  std::vector<int> nodes_of(const std::string& disk) const;
  int add_node(ModelNode node);
  void drop_node(int node);
  bool cloned_away(int node, const std::set<int>& leaving) const;

  // Devices stay open for a while, as clients do.
  BlockDevice& device(const std::string& disk);
  void detach(const std::string& disk);
  std::unique_ptr<BlockDevice> open(const Spec& spec, Access access);

  // I/O (io.cpp)
  struct Range {
    std::uint64_t offset = 0;
    std::uint64_t length = 0;
  };
  struct Request;
  Range random_range(std::uint64_t size_bytes, std::uint64_t max_length);
  std::vector<std::byte> random_bytes(std::uint64_t length);
  Request random_request(const Content& content, std::uint64_t max_length);
  Task<void> perform(BlockDevice& device, Request& request, Latch& latch);
  Task<void> perform_all(BlockDevice& device, std::vector<Request>& requests);
  static void apply(Content& content, const Request& request);
  void one_request();
  void requests_apart();
  void requests_overlapping();
  void check_extents();
  void check_allocated(const ModelNode& node, const std::vector<Extent>& extents);
  void verify_content(BlockDevice& device, const Content& content, const std::string& what);
  void verify_node(int node);

  // Snapshots while writes are in flight (races.cpp)
  void snapshot_among_writes();
  void snapshot_in_chain();
  struct Chain;
  Task<void> run_chain(Chain& chain, Latch& latch);
  Task<void> snapshot_chain(Chain& chain, std::vector<Spec> specs, Latch& latch);
  Task<void> write_around_snapshot(BlockDevice& device, std::vector<Request>& before,
                                   std::vector<Request>& after, Spec spec, Outcome<>& taken);
  Task<void> snapshot_and_note(Spec spec, Outcome<>& taken, Latch& latch);

  // Verbs (verbs.cpp)
  void create();
  void create_over();
  void write_base();
  void flatten();
  Task<void> pause();
  void snapshot_some();
  void rollback();
  void clone();
  void rename();
  void resize();
  void set_policy();
  void note_policy(const std::string& disk, bool strict);
  void blur(std::uint64_t block, const VersionPointer& version);
  void remove();
  void remove_disk();
  void diff();
  void check_tree();
  void check_store(bool read_data);
  void check_space();
  void check_disk_space(const std::vector<SpaceInfo>& rows);
  void remove_set();
  void keep_changes();
  void diff_bookmark();
  void check_diff(const ModelNode& a, const ModelNode& b);
  void dump_map();
  void reopen();
  void bad_input();
  Spec record_snapshot(const std::string& disk, const std::string& name);

  Reactor& reactor_;
  std::string directory_;
  std::mt19937_64 random_;
  std::unique_ptr<Store> store_;
  std::map<int, ModelNode> nodes_;
  std::map<int, ModelNode> bookmarks_;
  std::map<std::string, int> heads_;
  std::set<std::string> strict_;  // disks
  std::map<std::string, std::unique_ptr<BlockDevice>> devices_;
  std::vector<VersionPointer> base_;
  std::uint64_t base_bytes_ = 0;
  int last_base_ = 0;
  int last_node_ = 0;
  int names_ = 0;
  std::uint64_t steps_ = 0;
  std::deque<std::string> history_;
};

}  // namespace coppice::test
