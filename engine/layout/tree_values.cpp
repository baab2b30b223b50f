#include "layout/tree_values.h"

#include <algorithm>
#include <concepts>
#include <vector>

#include "base/wire.h"

namespace coppice {

namespace {

constexpr std::uint8_t kValueFormat = 1;
constexpr std::uint8_t kFlaggedDiskFormat = 2;
constexpr std::uint8_t kPolicyFormat = 2;  // of nodes
constexpr std::uint8_t kGroupFormat = 3;   // of nodes
constexpr std::uint8_t kImageFormat = 2;   // of bases
constexpr std::size_t kIdDigits = 16;

// Each value lists its fields once, in `fields`; the two visitors below write or read them in that order.
class Put {
 public:
  explicit Put(std::vector<std::byte>& out) : out_(out) {}
  template <class Tag>
  void operator()(const Number<Tag>& number) {
    out_.u64(number.value);
  }
  void operator()(const std::uint64_t& number) { out_.u64(number); }
  void operator()(const std::int64_t& number) { out_.u64(static_cast<std::uint64_t>(number)); }
  void operator()(const NodeState& state) { out_.u8(static_cast<std::uint8_t>(state)); }
  void operator()(const bool& flag) { out_.u8(flag ? 1 : 0); }
  void operator()(const std::string& text) { out_.text(text); }
  void operator()(const std::vector<std::string>& texts) {
    out_.u64(texts.size());
    for (const std::string& text : texts) out_.text(text);
  }
  void operator()(const std::vector<Epoch>& epochs) {
    out_.u64(epochs.size());
    for (const Epoch epoch : epochs) out_.u64(epoch.value);
  }
  void operator()(const BaseFormat& format) { out_.u8(static_cast<std::uint8_t>(format)); }
  void operator()(const AttachmentState& state) { out_.u8(static_cast<std::uint8_t>(state)); }
  void operator()(const std::vector<AttachmentValue>& attachments);
  void operator()(const Uuid& uuid) { out_.bytes(std::as_bytes(std::span(uuid.bytes))); }

 private:
  Writer out_;
};

class Take {
 public:
  Take(Reader& in, bool& valid) : in_(in), valid_(valid) {}
  template <class Tag>
  void operator()(Number<Tag>& number) {
    number.value = in_.u64();
  }
  void operator()(std::uint64_t& number) { number = in_.u64(); }
  void operator()(std::int64_t& number) { number = static_cast<std::int64_t>(in_.u64()); }
  void operator()(NodeState& state) {
    const std::uint8_t number = in_.u8();
    if (number >= static_cast<std::uint8_t>(NodeState::kHead) &&
        number <= static_cast<std::uint8_t>(NodeState::kDead))
      state = static_cast<NodeState>(number);
    else
      valid_ = false;
  }
  void operator()(bool& flag) {
    const std::uint8_t number = in_.u8();
    flag = number == 1;
    valid_ = valid_ && number <= 1;
  }
  void operator()(std::string& text) { text = in_.text(); }
  // In order, each once: one value has one encoding.
  void operator()(std::vector<std::string>& texts) {
    const std::uint64_t count = in_.u64();
    if (count > in_.remaining()) valid_ = false;
    for (std::uint64_t i = 0; valid_ && i < count; ++i) {
      std::string text = in_.text();
      valid_ = in_.ok() && (texts.empty() || texts.back() < text);
      texts.push_back(std::move(text));
    }
  }
  void operator()(std::vector<Epoch>& epochs) {
    const std::uint64_t count = in_.u64();
    if (count != in_.remaining() / 8) {
      valid_ = false;
      return;
    }
    for (std::uint64_t i = 0; i < count; ++i) epochs.push_back(Epoch{in_.u64()});
  }
  // Raw is what no format is told of.
  void operator()(BaseFormat& format) {
    const std::uint8_t number = in_.u8();
    valid_ = valid_ && number == static_cast<std::uint8_t>(BaseFormat::kQcow2);
    if (valid_) format = static_cast<BaseFormat>(number);
  }
  void operator()(AttachmentState& state) {
    const std::uint8_t number = in_.u8();
    const bool known = number >= static_cast<std::uint8_t>(AttachmentState::kActive) &&
                       number <= static_cast<std::uint8_t>(AttachmentState::kFenced);
    if (known) state = static_cast<AttachmentState>(number);
    valid_ = valid_ && known;
  }
  void operator()(std::vector<AttachmentValue>& attachments);
  void operator()(Uuid& uuid) {
    const auto bytes = in_.bytes(uuid.bytes.size());
    if (in_.ok()) std::memcpy(uuid.bytes.data(), bytes.data(), bytes.size());
  }

 private:
  Reader& in_;
  bool& valid_;
};

template <class T, class Value>
concept Of = std::same_as<std::remove_const_t<T>, Value>;

template <Of<BranchValue> T>
void fields(T& value, auto visit) {
  visit(value.parent), visit(value.fork_epoch), visit(value.current);
}
template <Of<NodeValue> T>
void fields(T& value, auto visit) {
  visit(value.state), visit(value.parent), visit(value.disk), visit(value.branch), visit(value.epoch);
  visit(value.size_bytes), visit(value.created_unix_ms), visit(value.cursor);
  visit(value.name), visit(value.note);
}
void policy_fields(auto& value, auto visit) {
  visit(value.expires_unix_ms), visit(value.scheduled), visit(value.holds);
}
void group_fields(auto& value, auto visit) {
  visit(value.group.id), visit(value.group.taken);
}
template <Of<DiskValue> T>
void fields(T& value, auto visit) {
  visit(value.head), visit(value.created_unix_ms), visit(value.name);
}
void flagged_fields(auto& value, auto visit) {
  visit(value.head), visit(value.created_unix_ms), visit(value.flags), visit(value.name);
}
template <Of<TrashValue> T>
void fields(T& value, auto visit) {
  visit(value.removed_unix_ms);
}
template <Of<ScheduleValue> T>
void fields(T& value, auto visit) {
  visit(value.hourly), visit(value.daily), visit(value.weekly), visit(value.monthly);
  visit(value.last_unix_ms);
}
template <Of<AttachmentValue> T>
void fields(T& value, auto visit) {
  visit(value.epoch), visit(value.state), visit(value.token), visit(value.created_unix_ms);
  visit(value.label);
}
template <Of<AttachmentsValue> T>
void fields(T& value, auto visit) {
  visit(value.last_epoch), visit(value.all);
}
template <Of<BaseValue> T>
void fields(T& value, auto visit) {
  visit(value.size_bytes), visit(value.is_device), visit(value.inode), visit(value.changed_ns);
  visit(value.samples), visit(value.flattening), visit(value.path);
}

template <Of<BookmarkValue> T>
void fields(T& value, auto visit) {
  visit(value.disk), visit(value.branch), visit(value.epoch);
  visit(value.size_bytes), visit(value.created_unix_ms), visit(value.name);
}
template <Of<QuotaValue> T>
void fields(T& value, auto visit) {
  visit(value.limit_bytes);
}
template <Of<CountersValue> T>
void fields(T& value, auto visit) {
  visit(value.next_epoch), visit(value.next_branch), visit(value.next_node), visit(value.next_disk);
}
template <Of<AppliedValue> T>
void fields(T& value, auto visit) {
  visit(value.sequence), visit(value.batch_hash), visit(value.ring_offset), visit(value.position);
}
template <Of<StoreValue> T>
void fields(T& value, auto visit) {
  visit(value.store), visit(value.metadata);
}

template <Of<SuspectsValue> T>
void fields(T& value, auto visit) {
  visit(value.epochs);
}

void Put::operator()(const std::vector<AttachmentValue>& attachments) {
  out_.u64(attachments.size());
  for (const AttachmentValue& each : attachments) fields(each, *this);
}

void Take::operator()(std::vector<AttachmentValue>& attachments) {
  const std::uint64_t count = in_.u64();
  if (count > in_.remaining()) valid_ = false;
  for (std::uint64_t i = 0; valid_ && i < count; ++i) {
    AttachmentValue each;
    fields(each, *this);
    valid_ = valid_ && in_.ok();
    attachments.push_back(std::move(each));
  }
}

// Epochs rise, from 1 to at most the last one that was given; one writes.
bool in_order(const AttachmentsValue& value) {
  std::uint64_t before = 0;
  for (const AttachmentValue& each : value.all) {
    if (each.epoch <= before) return false;
    before = each.epoch;
  }
  return before <= value.last_epoch &&
         std::ranges::count(value.all, AttachmentState::kActive, &AttachmentValue::state) <= 1;
}

// The lowest format that can hold the value, so that what nobody uses keeps no older version from reading.
template <class T>
std::uint8_t format_of(const T& value) {
  if constexpr (std::same_as<T, NodeValue>) {
    if (value.group.id.value != 0) return kGroupFormat;
    return value.has_policy() ? kPolicyFormat : kValueFormat;
  }
  if constexpr (std::same_as<T, DiskValue>) return value.flags != 0 ? kFlaggedDiskFormat : kValueFormat;
  if constexpr (std::same_as<T, BaseValue>)
    return value.format != BaseFormat::kRaw ? kImageFormat : kValueFormat;
  return kValueFormat;
}

template <class T>
void fields_of(T& value, std::uint8_t format, auto visit) {
  if constexpr (Of<T, DiskValue>) {
    if (format == kFlaggedDiskFormat) return flagged_fields(value, visit);
  }
  fields(value, visit);
  if constexpr (Of<T, NodeValue>) {
    if (format == kPolicyFormat || format == kGroupFormat) policy_fields(value, visit);
    if (format == kGroupFormat) group_fields(value, visit);
  }
  if constexpr (Of<T, BaseValue>) {
    if (format == kImageFormat) visit(value.format);
  }
}

template <class T>
std::string put(const T& value) {
  std::vector<std::byte> bytes;
  const std::uint8_t format = format_of(value);
  Writer(bytes).u8(format);
  fields_of(value, format, Put(bytes));
  return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
}

template <class T>
std::optional<T> take(std::string_view from) {
  Reader in(std::as_bytes(std::span(from)));
  const std::uint8_t format = in.u8();
  T value;
  bool valid = true;
  fields_of(value, format, Take(in, valid));
  if (!valid || !in.ok() || !in.done() || format_of(value) != format) return std::nullopt;
  return value;
}

std::string key_of(std::string_view kind, std::uint64_t id) {
  static constexpr char kDigits[] = "0123456789abcdef";
  std::string key(kind);
  for (std::size_t digit = kIdDigits; digit-- > 0;) key += kDigits[(id >> (4 * digit)) & 15];
  return key;
}

}  // namespace

std::string branch_key(BranchId id) {
  return key_of("branch/", id.value);
}
std::string node_key(NodeId id) {
  return key_of("node/", id.value);
}
std::string disk_key(DiskId id) {
  return key_of("disk/", id.value);
}
std::string trash_key(DiskId id) {
  return key_of("trash/", id.value);
}
std::string schedule_key(DiskId id) {
  return key_of("schedule/", id.value);
}
std::string attachments_key(DiskId id) {
  return key_of("attach/", id.value);
}
std::string base_key(BranchId root) {
  return key_of("base/", root.value);
}

std::string bookmark_key(NodeId id) {
  return key_of("bookmark/", id.value);
}

std::string quota_key(DiskId id) {
  return key_of("quota/", id.value);
}

std::optional<std::uint64_t> id_of_key(std::string_view key, std::string_view prefix) {
  if (!key.starts_with(prefix)) return std::nullopt;
  key.remove_prefix(prefix.size());
  if (!prefix.ends_with('/')) {
    if (!key.starts_with('/')) return std::nullopt;
    key.remove_prefix(1);
  }
  if (key.size() != kIdDigits) return std::nullopt;
  std::uint64_t id = 0;
  for (const char digit : key) {
    const bool decimal = digit >= '0' && digit <= '9';
    if (!decimal && (digit < 'a' || digit > 'f')) return std::nullopt;
    id = id << 4 | static_cast<std::uint64_t>(decimal ? digit - '0' : digit - 'a' + 10);
  }
  return id;
}

std::string encode(const BranchValue& value) {
  return put(value);
}
std::string encode(const NodeValue& value) {
  return put(value);
}
std::string encode(const DiskValue& value) {
  return put(value);
}
std::string encode(const TrashValue& value) {
  return put(value);
}
std::string encode(const ScheduleValue& value) {
  return put(value);
}
std::string encode(const AttachmentsValue& value) {
  return put(value);
}
std::string encode(const BaseValue& value) {
  return put(value);
}
std::string encode(const BookmarkValue& value) {
  return put(value);
}
std::string encode(const QuotaValue& value) {
  return put(value);
}
std::string encode(const CountersValue& value) {
  return put(value);
}
std::string encode(const AppliedValue& value) {
  return put(value);
}
std::string encode(const StoreValue& value) {
  return put(value);
}
std::string encode(const SuspectsValue& value) {
  return put(value);
}

std::optional<BranchValue> decode_branch(std::string_view value) {
  return take<BranchValue>(value);
}
std::optional<NodeValue> decode_node(std::string_view value) {
  auto node = take<NodeValue>(value);
  if (node && node->group.id.value != 0 && node->group.taken < 2) return std::nullopt;
  return node;
}

bool newer_node(std::string_view value) {
  return !value.empty() && static_cast<std::uint8_t>(value.front()) > kGroupFormat;
}
std::optional<DiskValue> decode_disk(std::string_view value) {
  auto disk = take<DiskValue>(value);
  if (disk && (disk->flags & ~kKnownDiskFlags) != 0) return std::nullopt;
  return disk;
}

bool newer_disk(std::string_view value) {
  if (value.empty()) return false;
  if (static_cast<std::uint8_t>(value.front()) > kFlaggedDiskFormat) return true;
  const auto disk = take<DiskValue>(value);
  return disk && (disk->flags & ~kKnownDiskFlags) != 0;
}
std::optional<TrashValue> decode_trash(std::string_view value) {
  return take<TrashValue>(value);
}
std::optional<ScheduleValue> decode_schedule(std::string_view value) {
  return take<ScheduleValue>(value);
}
std::optional<AttachmentsValue> decode_attachments(std::string_view value) {
  auto attachments = take<AttachmentsValue>(value);
  if (attachments && !in_order(*attachments)) return std::nullopt;
  return attachments;
}
std::optional<BaseValue> decode_base(std::string_view value) {
  return take<BaseValue>(value);
}

std::optional<BookmarkValue> decode_bookmark(std::string_view value) {
  return take<BookmarkValue>(value);
}
std::optional<QuotaValue> decode_quota(std::string_view value) {
  return take<QuotaValue>(value);
}
std::optional<CountersValue> decode_counters(std::string_view value) {
  return take<CountersValue>(value);
}
std::optional<AppliedValue> decode_applied(std::string_view value) {
  return take<AppliedValue>(value);
}
std::optional<StoreValue> decode_store(std::string_view value) {
  return take<StoreValue>(value);
}
std::optional<SuspectsValue> decode_suspects(std::string_view value) {
  return take<SuspectsValue>(value);
}

NodeValue killed(NodeValue node) {
  node.state = NodeState::kDead;
  node.name.clear();
  node.note.clear();
  node.expires_unix_ms = 0;
  node.scheduled = false;
  node.holds.clear();
  node.group = {};
  node.cursor = {};
  return node;
}

}  // namespace coppice
