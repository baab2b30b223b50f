#include "cli/tree_picture.h"

#include <algorithm>
#include <map>
#include <span>

#include "cli/policy_text.h"
#include "cli/table.h"
#include "cli/time_text.h"
#include "coppice/bytes.h"

namespace coppice::cli {
namespace {

using Kind = NodeInfo::Kind;
constexpr std::uint64_t kRoot = 0;
// With size and age behind it a row still fits a terminal of 80. One long name must not push all rows out.
constexpr std::size_t kNameColumn = 48;
// Of a run that is folded so many are shown at either end; no fold hides less than what it saves.
constexpr std::size_t kShownEnds = 2;
constexpr std::size_t kFoldedFrom = 10;
// Each costs a question to the store.
constexpr std::size_t kMostAsked = 16;

std::string with_commas(std::uint64_t number) {
  std::string text = std::to_string(number);
  for (std::size_t at = text.size(); at > 3;) text.insert(at -= 3, ",");
  return text;
}

std::string counted(std::uint64_t count, const char* one, const char* several) {
  return with_commas(count) + " " + (count == 1 ? one : several);
}

class Picture {
 public:
  Picture(const std::vector<NodeInfo>& nodes, std::int64_t now_unix_ms, const TreeView& view);
  std::string draw();

 private:
  // A line of the drawing that is yet to come. The tree may be thousands deep, so there is no recursion.
  struct Step {
    std::uint64_t id;
    std::string before;  // what stands left of the node on its own line
    std::string below;   // and on the lines below it
    std::size_t depth = 0;
  };
  using Run = std::vector<const NodeInfo*>;
  void adopt_children(std::uint64_t id);
  void leave_out_deleted();
  void put_main_line_last();
  void draw_from(std::uint64_t root);
  void draw_line(const Step& step);
  // From there down, as far as there is nothing to tell of any.
  [[nodiscard]] Run plain_run(std::uint64_t from) const;
  [[nodiscard]] bool plain(const NodeInfo& node) const;
  [[nodiscard]] bool old(const NodeInfo& node) const { return node.created_unix_ms < view_.since_unix_ms; }
  // Draws a node, or a run that begins with it; the last node of what was drawn.
  std::uint64_t draw_run(const Step& step);
  void draw_fold(const std::string& before, const Run& run);
  void draw_branches(const Step& step, std::span<const std::uint64_t> branches);
  [[nodiscard]] std::string label(const NodeInfo& node) const;
  [[nodiscard]] std::string remarks(const NodeInfo& node) const;

  std::vector<NodeInfo> nodes_;
  std::map<std::uint64_t, const NodeInfo*> by_id_;
  std::map<std::uint64_t, std::uint64_t> parent_;
  std::map<std::uint64_t, std::vector<std::uint64_t>> children_;
  std::int64_t now_unix_ms_;
  const TreeView& view_;
  std::size_t asked_ = 0;
  Table table_{{Table::Align::kLeft, Table::Align::kRight, Table::Align::kLeft, Table::Align::kLeft}};
};

Picture::Picture(const std::vector<NodeInfo>& nodes, std::int64_t now_unix_ms, const TreeView& view)
    : nodes_(nodes), now_unix_ms_(now_unix_ms), view_(view) {
  for (const auto& node : nodes_) {
    const std::uint64_t parent = by_id_.contains(node.parent) ? node.parent : kRoot;
    by_id_[node.id] = &node;
    parent_[node.id] = parent;
    children_[parent].push_back(node.id);
  }
  leave_out_deleted();
  put_main_line_last();
}

// Children first, so that a chain of deleted nodes shrinks to nothing. One stays where branches part.
void Picture::leave_out_deleted() {
  for (auto node = nodes_.rbegin(); node != nodes_.rend(); ++node) {
    if (node->kind == Kind::kDeleted && children_[node->id].size() < 2) adopt_children(node->id);
  }
}

void Picture::adopt_children(std::uint64_t id) {
  auto& siblings = children_[parent_[id]];
  auto place = siblings.erase(std::ranges::find(siblings, id));
  for (const std::uint64_t child : children_[id]) {
    parent_[child] = parent_[id];
    place = siblings.insert(place, child) + 1;
  }
  by_id_.erase(id);
}

// Walks up from each head while the line is its own disk's; a node that belongs to another disk's line is
// that disk's to continue.
void Picture::put_main_line_last() {
  for (const auto& node : nodes_) {
    if (node.kind != Kind::kHead) continue;
    for (std::uint64_t id = node.id; parent_[id] != kRoot; id = parent_[id]) {
      const NodeInfo& above = *by_id_[parent_[id]];
      if (above.disk != node.disk && above.kind != Kind::kDeleted) break;
      auto& siblings = children_[above.id];
      const auto self = std::ranges::find(siblings, id);
      std::rotate(self, self + 1, siblings.end());
    }
  }
}

std::string Picture::draw() {
  table_.limit_first_column(kNameColumn);
  bool after_tree = false;
  for (const std::uint64_t root : children_[kRoot]) {
    const bool is_tree = !children_[root].empty();
    if (after_tree || (is_tree && root != children_[kRoot].front())) table_.add({});
    draw_from(root);
    after_tree = is_tree;
  }
  return table_.text();
}

void Picture::draw_from(std::uint64_t root) {
  std::vector<Step> steps{{root, "", ""}};
  while (!steps.empty()) {
    const Step step = std::move(steps.back());
    steps.pop_back();
    const auto& children = children_[draw_run(step)];
    if (children.empty()) continue;
    steps.push_back({children.back(), step.below, step.below, step.depth});
    const std::span branches(children.begin(), children.end() - 1);
    if (step.depth >= view_.depth) {
      draw_branches(step, branches);
      continue;
    }
    for (auto child = branches.rbegin(); child != branches.rend(); ++child) {
      steps.push_back({*child, step.below + "├─", step.below + "│ ", step.depth + 1});
    }
  }
}

bool Picture::plain(const NodeInfo& node) const {
  return node.kind == Kind::kSnapshot && node.holds.empty() && node.note.empty() && node.clones.empty() &&
         node.attachments == 0;
}

Picture::Run Picture::plain_run(std::uint64_t from) const {
  Run run;
  const NodeInfo* node = by_id_.at(from);
  while (plain(*node) && (run.empty() || node->disk == run.front()->disk)) {
    run.push_back(node);
    const auto children = children_.find(node->id);
    if (children == children_.end() || children->second.size() != 1) break;
    node = by_id_.at(children->second.front());
  }
  return run;
}

std::uint64_t Picture::draw_run(const Step& step) {
  Run run;
  if (!view_.all) run = plain_run(step.id);
  const auto first_young = std::ranges::find_if(run, [this](const NodeInfo* node) { return !old(*node); });
  const Run older(run.begin(), first_young);
  if (!older.empty()) {
    draw_fold(step.before, older);
    return older.back()->id;
  }
  if (run.size() < kFoldedFrom + 2 * kShownEnds) {
    draw_line(step);
    return step.id;
  }
  const Run middle(run.begin() + kShownEnds, run.end() - kShownEnds);
  for (std::size_t i = 0; i < run.size(); ++i) {
    if (i == kShownEnds) {
      draw_fold(step.below, middle);
      i += middle.size();
    }
    draw_line({run[i]->id, i == 0 ? step.before : step.below, step.below, step.depth});
  }
  return run.back()->id;
}

void Picture::draw_fold(const std::string& before, const Run& run) {
  std::string text = before + "… " +
                     (old(*run.front()) ? counted(run.size(), "older snapshot", "older snapshots")
                                        : counted(run.size(), "snapshot", "snapshots"));
  const bool asks = view_.own_bytes && asked_++ < kMostAsked;
  const auto own = asks ? view_.own_bytes({run.front()->disk, run.front()->snapshot},
                                          {run.back()->disk, run.back()->snapshot})
                        : std::nullopt;
  if (own) text += ", " + format_size(*own) + " own";
  table_.add({text});
}

void Picture::draw_branches(const Step& step, std::span<const std::uint64_t> branches) {
  std::vector<std::uint64_t> open(branches.begin(), branches.end());
  std::uint64_t snapshots = 0;
  std::uint64_t disks = 0;
  while (!open.empty()) {
    const std::uint64_t id = open.back();
    open.pop_back();
    const Kind kind = by_id_.at(id)->kind;
    if (kind == Kind::kHead) ++disks;
    if (kind == Kind::kSnapshot) ++snapshots;
    const auto& children = children_[id];
    open.insert(open.end(), children.begin(), children.end());
  }
  if (branches.empty()) return;
  table_.add({step.below + "├─… " + counted(branches.size(), "branch", "branches") + ": " +
              counted(disks, "disk", "disks") + ", " + counted(snapshots, "snapshot", "snapshots")});
}

void Picture::draw_line(const Step& step) {
  const NodeInfo& node = *by_id_[step.id];
  if (node.kind == Kind::kDeleted) {
    table_.add({step.before + label(node)});
    return;
  }
  table_.add({step.before + label(node), format_size(node.size_bytes),
              format_age(node.created_unix_ms, now_unix_ms_), remarks(node)});
}

std::string Picture::label(const NodeInfo& node) const {
  if (node.kind == Kind::kDeleted) return "× (deleted)";
  if (node.kind == Kind::kHead) return "● " + node.disk + " (head)";
  if (node.kind == Kind::kChanges) return "◌ " + node.disk + "@" + node.snapshot;
  return "○ " + node.disk + "@" + node.snapshot;
}

std::string Picture::remarks(const NodeInfo& node) const {
  std::string text;
  const auto add = [&text](const std::string& more) { text += (text.empty() ? "" : ", ") + more; };
  if (node.kind == Kind::kChanges) add("changes only");
  if (node.attachments != 0) add("in use");
  if (node.policy.strict) add("strict");
  const auto parent = parent_.at(node.id);
  if (parent != kRoot) {
    const NodeInfo& from = *by_id_.at(parent);
    if (from.kind != Kind::kDeleted && from.disk != node.disk) {
      add("cloned from " + from.disk + "@" + from.snapshot);
    }
  }
  if (const std::string policies = policy_text(node, now_unix_ms_); !policies.empty()) add(policies);
  if (!node.note.empty()) add("“" + node.note + "”");
  return text;
}

}  // namespace

std::string draw_tree(const std::vector<NodeInfo>& nodes, std::int64_t now_unix_ms, const TreeView& view) {
  return Picture(nodes, now_unix_ms, view).draw();
}

}  // namespace coppice::cli
