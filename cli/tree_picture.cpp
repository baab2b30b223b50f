#include "cli/tree_picture.h"

#include <algorithm>
#include <map>

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

class Picture {
 public:
  Picture(const std::vector<NodeInfo>& nodes, std::int64_t now_unix_ms);
  std::string draw();

 private:
  // A line of the drawing that is yet to come. The tree may be thousands deep, so there is no recursion.
  struct Step {
    std::uint64_t id;
    std::string before;  // what stands left of the node on its own line
    std::string below;   // and on the lines below it
  };
  void adopt_children(std::uint64_t id);
  void leave_out_deleted();
  void put_main_line_last();
  void draw_from(std::uint64_t root);
  void draw_line(const Step& step);
  [[nodiscard]] std::string label(const NodeInfo& node) const;
  [[nodiscard]] std::string remarks(const NodeInfo& node) const;

  std::vector<NodeInfo> nodes_;
  std::map<std::uint64_t, const NodeInfo*> by_id_;
  std::map<std::uint64_t, std::uint64_t> parent_;
  std::map<std::uint64_t, std::vector<std::uint64_t>> children_;
  std::int64_t now_unix_ms_;
  Table table_{{Table::Align::kLeft, Table::Align::kRight, Table::Align::kLeft, Table::Align::kLeft}};
};

Picture::Picture(const std::vector<NodeInfo>& nodes, std::int64_t now_unix_ms)
    : nodes_(nodes), now_unix_ms_(now_unix_ms) {
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
    draw_line(step);
    const auto& children = children_[step.id];
    if (children.empty()) continue;
    steps.push_back({children.back(), step.below, step.below});
    for (auto child = children.rbegin() + 1; child != children.rend(); ++child) {
      steps.push_back({*child, step.below + "├─", step.below + "│ "});
    }
  }
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
  return "○ " + node.disk + "@" + node.snapshot;
}

std::string Picture::remarks(const NodeInfo& node) const {
  std::string text;
  const auto add = [&text](const std::string& more) { text += (text.empty() ? "" : ", ") + more; };
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

std::string draw_tree(const std::vector<NodeInfo>& nodes, std::int64_t now_unix_ms) {
  return Picture(nodes, now_unix_ms).draw();
}

}  // namespace coppice::cli
