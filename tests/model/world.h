// World: a store and, beside it, everything that must be true of it.
//
// Plain calls; each runs until the store has answered. A broken expectation throws Mismatch. The random
// numbers never depend on what the store answers in what order, so a seed replays.
//
// Where the host can die, it does so within a step or behind it (crashes.cpp). Then a verb that was under way
// has happened or has not, and a block that was written and not flushed holds one of what it held since.
#pragma once

#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <random>
#include <set>
#include <string>
#include <vector>

#include "content.h"
#include "host.h"

namespace coppice::test {

// What a block of a disk held since it was last known durable, and what is on its way to it.
using Open = std::map<std::uint64_t, std::vector<VersionPointer>>;

// A live node. Dead ones leave the picture: what stood on them stands on their parent.
struct ModelNode {
  int parent = 0;  // 0: none
  std::string disk;
  std::string snapshot;  // empty: the head
  Content content;
  int base = 0;               // 0: it stands on none; else the same for all that stand on one together
  bool changes_only = false;  // a bookmark: nothing stands on it
  std::set<std::string> holds = {};
  std::int64_t expires_ms = 0;    // 0: never
  std::int64_t scheduled_ms = 0;  // when a schedule took it; 0: none did
  std::string note = {};
  int group = 0;                // the first of those taken with it; 0: none
  std::size_t group_taken = 0;  // how many they were
  // Of heads:
  std::uint64_t id = 0;  // the store's, which another has after a rollback; 0: not known
  Open unflushed = {};
  [[nodiscard]] Spec spec() const { return {disk, snapshot}; }
};
using Nodes = std::map<int, ModelNode>;

inline constexpr std::size_t kMostNodes = 40;
inline constexpr std::size_t kMostDisks = 5;

struct ModelAttachment {
  std::string token;
  std::uint64_t epoch = 0;
  AttachmentInfo::State state = AttachmentInfo::State::kFenced;
};

struct ModelDisk {
  int head = 0;
  bool strict = false;
  std::uint64_t quota_bytes = 0;  // 0: none
  Schedule schedule = {};
  std::int64_t taken_ms = 0;  // when the schedule last took a snapshot
  // A crash came between that snapshot and the note of it: the store may remember either.
  std::int64_t taken_perhaps_ms = 0;
  std::vector<ModelAttachment> attachments = {};
  std::uint64_t last_epoch = 0;
};

struct ModelTrash {
  std::string name;
  ModelDisk disk;
  Nodes nodes;
  Nodes bookmarks;
  std::int64_t removed_ms = 0;
};

class World {
 public:
  // `crash_every`: of so many steps one dies, or none (0).
  World(Host& host, std::uint64_t seed, std::uint64_t crash_every, std::string dump_path);
  ~World();
  World(const World&) = delete;
  World& operator=(const World&) = delete;

  // One random step, and a diff. Every kind is a member below.
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
    std::optional<T> value;
    host_.run(deliver(std::move(task), value));
    return std::move(*value);
  }
  void run(Task<void> task) { host_.run(std::move(task)); }
  template <class T>
  static Task<void> deliver(Task<T> task, std::optional<T>& value) {
    value.emplace(co_await task);
  }
  Store& store() { return host_.store(); }
  // A verb that changes the model: `effect` does. It keeps copies of what it needs, for a crash under the
  // verb ends the caller, and the verb may have happened all the same.
  template <class R, class Effect>
  void change(Task<R> verb, const std::string& what, Effect effect) {
    pending_.effect = effect;
    const R result = run(std::move(verb));
    pending_ = {};
    require(result, what);
    effect();
  }
  template <class R>
  static void require(const R& result, const std::string& what) {
    if (result) return;
    if constexpr (std::is_same_v<typename R::error_type, Failure>) {
      throw Mismatch(what + ": " + result.error().message);
    } else {
      throw Mismatch(what + ": " + result.error().text + " (errno " +
                     std::to_string(result.error().errno_value) + ")");
    }
  }
  template <class R>
  static void require_refused(const R& result, ErrorKind kind, const std::string& what) {
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
  void one_step();

  // Nodes and names.
  int head_of(const std::string& disk) const { return disks_.at(disk).head; }
  Content& content_of(const std::string& disk) { return nodes_.at(head_of(disk)).content; }
  std::string some_disk();
  int some_snapshot();  // 0 if there is none
  int some_node();
  std::string new_name(const char* prefix) { return prefix + std::to_string(++names_); }
  std::vector<int> children_of(int node) const;
  std::vector<int> nodes_of(const std::string& disk) const;
  int add_node(ModelNode node);
  // What stood on it stands on its parent.
  void leave_node(int node, int parent);
  void drop_node(int node);
  // Another disk stands on it, of those that stay: also one in the trash, unless it goes there, too.
  bool cloned_away(int node, const std::set<int>& leaving, bool to_trash = false) const;
  template <class Use>
  void each_node(Use use) {
    for (auto* all : {&nodes_, &bookmarks_})
      for (auto& [id, node] : *all) use(node);
    for (ModelTrash& trash : trash_)
      for (auto* all : {&trash.nodes, &trash.bookmarks})
        for (auto& [id, node] : *all) use(node);
  }

  // Devices stay open for a while, as clients do.
  BlockDevice& device(const std::string& disk);
  void close(const std::string& disk) { devices_.erase(disk); }
  // Closes it, where it is open, and detaches it; before that the verb must be refused.
  template <class Verb>
  void require_busy_and_detach(const std::string& disk, const std::string& what, Verb verb) {
    if (devices_.contains(disk)) {
      require_refused(run(verb()), ErrorKind::kBusy, what + " while it is open");
      close(disk);
    }
    if (active_of(disk) == nullptr) return;
    require_refused(run(verb()), ErrorKind::kBusy, what + " while it is attached");
    detach(disk);
  }
  Device open(const Spec& spec, Access access);
  Device own(std::unique_ptr<BlockDevice> device) { return {device.release(), {&host_, host_.lives()}}; }

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
  // All at once. A crash meanwhile leaves some of what they do. What `apart` ones did is noted.
  void issue(const std::string& disk, std::vector<Request>& requests, bool apart);
  [[nodiscard]] Open possible(const Content& before, const std::vector<Request>& requests) const;
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

  // Crashes (crashes.cpp)
  void recover();
  void reopen_after_crash();
  void learn_heads();
  bool tree_fits();
  void settle_verb();
  void settle_content(const std::string& disk);
  void settle_block(const std::string& disk, std::uint64_t block, std::span<const std::byte> found,
                    const std::vector<VersionPointer>& may_hold);
  void tidy_up(const std::string& disk);
  void forget_unflushed(const std::string& disk) { nodes_.at(head_of(disk)).unflushed.clear(); }
  void note_unflushed(ModelNode& head, std::uint64_t block, const VersionPointer& before,
                      const VersionPointer& after);

  // Verbs (verbs.cpp)
  void create();
  void create_over();
  void set_quota(const std::string& disk, std::uint64_t limit_bytes);
  std::uint64_t limit_to_charged(const std::string& disk);
  void write_base();
  void change_base();
  void flatten();
  void settle_flatten(const std::string& disk);
  Task<void> pause();
  void snapshot_some();
  void clone();
  void rename();
  void resize();
  void set_policy();
  void blur(std::uint64_t block, const VersionPointer& version);
  void remove();
  void remove_disk();
  void remove_set();
  void note_removed(const std::string& disk);
  void keep_changes();
  void quota();
  void reopen();
  void bad_input();
  int record_snapshot(const std::string& disk, const std::string& name, const std::string& text = {});
  void record_group(const std::vector<int>& nodes);
  void fill_pool();

  // Going back (verbs_rollback.cpp)
  using Targets = std::map<std::string, int>;  // by disk
  Targets some_targets();
  std::vector<Spec> specs_of(const Targets& targets) const;
  void rollback();
  void rollback_online();
  void note_rollback(const Targets& targets, const std::string& kept);

  // Attachments (verbs_attach.cpp)
  [[nodiscard]] const ModelAttachment* active_of(const std::string& disk) const;
  void attach();
  std::string attach(const std::string& disk, bool incoming);
  void take_over(const std::string& disk);
  void detach(const std::string& disk);
  void fence(const std::string& disk);
  void settle_attachments(const std::string& disk);
  void compare_attachments(const std::string& disk, const ModelDisk& model);

  // Holds, ends, schedules (verbs_policies.cpp), the trash (verbs_trash.cpp)
  void hold();
  void expire();
  void schedule();
  void run_policies();
  void settle_policies(bool acknowledged);
  void settle_schedule(const std::string& disk, const std::vector<NodeInfo>& tree, bool acknowledged);
  void settle_gone(std::set<int> may_go, const std::vector<NodeInfo>& tree, bool acknowledged);
  void settle_old_trash(bool acknowledged);
  std::vector<int> scheduled_of(const std::string& disk) const;
  bool due(const std::string& disk, std::int64_t taken_ms) const;
  std::set<int> kept_by(const Schedule& rules, const std::vector<int>& snapshots) const;
  void trash();
  void undelete();
  void purge();
  void note_purged(const std::string& name);
  void settle_taken_trash();
  void check_trash();

  // Questions (questions.cpp)
  void diff();
  void diff_bookmark();
  void check_diff(const ModelNode& a, const ModelNode& b);
  void check_tree();
  void compare_tree();
  void compare_node(const ModelNode& node, const NodeInfo& info);
  void check_range();
  void compare_groups(const std::map<std::string, const NodeInfo*>& by_spec) const;
  void check_group();
  void check_store(bool read_data);
  void check_space();
  void check_disk_space(const std::vector<SpaceInfo>& rows);
  [[nodiscard]] std::uint64_t used_bytes();
  void dump_map();

  Host& host_;
  std::string dump_path_;
  std::mt19937_64 random_;
  std::uint64_t crash_every_;
  Nodes nodes_;
  Nodes bookmarks_;
  std::map<std::string, ModelDisk> disks_;
  std::vector<ModelTrash> trash_;  // oldest first
  std::map<std::string, Device> devices_;
  // Under way: what a verb changes if it happened; or how to find out what of it did.
  struct Pending {
    std::function<void()> effect;
    std::function<void()> settle;
  };
  Pending pending_;
  std::map<std::string, Open> in_flight_;
  bool doomed_ = false;      // this step may not come to its end
  bool lost_power_ = false;  // since the last recovery
  std::string base_path_;
  std::vector<VersionPointer> base_;
  std::uint64_t base_bytes_ = 0;
  int last_base_ = 0;
  int last_node_ = 0;
  int names_ = 0;
  std::uint64_t steps_ = 0;
  std::deque<std::string> history_;
};

}  // namespace coppice::test
