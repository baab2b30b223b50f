// Attachments: who may write to a disk (coppice/attachment.h). What a crash must find is one record a disk;
// who writes at this moment is the gate's to say.
#include <fmt/format.h>

#include <algorithm>

#include "base/mutation.h"
#include "base/uuid.h"
#include "store/store_impl.h"

namespace coppice {

namespace {

// So that the record stays small. The oldest one that is fenced makes room.
constexpr std::size_t kMostAttachments = 16;
constexpr std::size_t kMostLabelBytes = 255;

bool live(const AttachmentValue& attachment) {
  return attachment.state != AttachmentState::kFenced;
}

}  // namespace

AttachmentGate& StoreImpl::gate_of(DiskId disk) {
  std::unique_ptr<AttachmentGate>& gate = gates_[disk];
  const auto promote_it = [this, disk](std::uint64_t epoch) { return promote(disk, epoch); };
  if (!gate) gate = std::make_unique<AttachmentGate>(scheduler_, promote_it);
  return *gate;
}

const AttachmentValue* StoreImpl::live_attachment(DiskId disk) const {
  const AttachmentsValue* known = engine_->tree().attachments(disk);
  const AttachmentValue* found = nullptr;
  if (known == nullptr) return found;
  for (const AttachmentValue& each : known->all) {
    if (each.state == AttachmentState::kActive || (found == nullptr && live(each))) found = &each;
  }
  return found;
}

const AttachmentValue* StoreImpl::find_attachment(DiskId disk, const std::string& token) const {
  const AttachmentsValue* known = engine_->tree().attachments(disk);
  if (known == nullptr) return nullptr;
  const auto found =
      std::ranges::find_if(known->all, [&](const auto& each) { return to_text(each.token) == token; });
  return found == known->all.end() ? nullptr : &*found;
}

std::string StoreImpl::client_of(DiskId disk, std::uint64_t epoch) const {
  const auto gate = gates_.find(disk);
  if (gate == gates_.end()) return {};
  for (const AttachmentGate::Pass& pass : gate->second->passes()) {
    if (pass.epoch == epoch) return pass.holder.description;
  }
  return {};
}

// "web-1, epoch 3, nbd client pid 4711".
std::string StoreImpl::attachment_text(DiskId disk, const AttachmentValue& attachment) const {
  const std::string client = client_of(disk, attachment.epoch);
  return fmt::format("{}{}epoch {}{}{}", attachment.label, attachment.label.empty() ? "" : ", ",
                     attachment.epoch, client.empty() ? "" : ", ", client);
}

AttachmentInfo StoreImpl::describe(DiskId disk, const AttachmentValue& attachment) const {
  AttachmentInfo info;
  using State = AttachmentInfo::State;
  info.state = attachment.state == AttachmentState::kActive     ? State::kActive
               : attachment.state == AttachmentState::kIncoming ? State::kIncoming
                                                                : State::kFenced;
  info.token = to_text(attachment.token);
  info.epoch = attachment.epoch;
  info.label = attachment.label;
  info.created_unix_ms = attachment.created_unix_ms;
  info.client = client_of(disk, attachment.epoch);
  return info;
}

const StoreImpl::OpenBy* StoreImpl::plain_holder(NodeId node, bool writes) const {
  const auto place = holders_.find(node);
  if (place == holders_.end()) return nullptr;
  const auto found = std::ranges::find_if(
      place->second, [&](const OpenBy& each) { return !each.attached && (each.writes || !writes); });
  return found == place->second.end() ? nullptr : &*found;
}

// A client that is away may be about to come back: what counts is the attachment.
Outcome<> StoreImpl::require_no_attachment(const TreeDisk& disk, const std::string& verb) const {
  const AttachmentValue* found = live_attachment(disk.id);
  if (found == nullptr) return {};
  return refuse(ErrorKind::kBusy, fmt::format("disk {} is attached ({}): detach it before {}",
                                              disk.value.name, attachment_text(disk.id, *found), verb));
}

Task<Outcome<>> StoreImpl::change_attachments(DiskId disk, std::function<void(AttachmentsValue&)> edit,
                                              bool durable) {
  const Tree& tree = engine_->tree();
  const auto plan = [&] {
    const AttachmentsValue* known = tree.attachments(disk);
    AttachmentsValue value = known == nullptr ? AttachmentsValue{} : *known;
    edit(value);
    return tree.plan_attachments(disk, value);
  };
  if (!durable) {
    const MetaRecord record{plan()};
    engine_->parts().journal.stage(record);
    auto applied = engine_->tree().apply(record.edits);
    if (!applied) co_return refuse(applied.error(), "attachments");
    co_return Outcome<>{};
  }
  auto done = co_await change(plan, "disk " + tree.disk(disk)->value.name);
  co_return done;
}

// Not behind verbs_: a verb may be waiting for writes, and this is one's beginning. The gate lets one change
// of a disk's attachments happen at a time, and a disk that has a live one is not removed.
Task<Outcome<>> StoreImpl::promote(DiskId disk, std::uint64_t epoch) {
  const auto edit = [epoch](AttachmentsValue& value) {
    for (AttachmentValue& each : value.all) {
      if (each.epoch < epoch) each.state = AttachmentState::kFenced;
      if (each.epoch == epoch) each.state = AttachmentState::kActive;
    }
  };
  const bool durable = !mutated(Mutation::kFenceUncommitted);
  auto done = co_await change_attachments(disk, edit, durable);
  const TreeDisk* owner = engine_->tree().disk(disk);
  if (done && owner != nullptr) {
    engine_->tell(fmt::format("disk {}: the attachment of epoch {} writes now, older ones are fenced",
                              owner->value.name, epoch));
  }
  co_return done;
}

Task<Outcome<AttachmentInfo>> StoreImpl::attach(std::string disk, AttachOptions options) {
  return exclusively(do_attach(std::move(disk), std::move(options)));
}

Task<Outcome<AttachmentInfo>> StoreImpl::do_attach(std::string name, AttachOptions options) {
  auto disk = require_disk(name);
  if (!disk) co_return std::unexpected(disk.error());
  if (options.label.size() > kMostLabelBytes) {
    co_return refuse(ErrorKind::kInvalid, fmt::format("disk {}: a label has at most {} bytes, this one {}",
                                                      name, kMostLabelBytes, options.label.size()));
  }
  const DiskId id = (*disk)->id;
  if (const OpenBy* plain = plain_holder((*disk)->value.head, true)) {
    co_return refuse(
        ErrorKind::kBusy,
        fmt::format("disk {} is open for writing without an attachment ({}): close it there first", name,
                    plain->description));
  }
  const AttachmentValue* other = live_attachment(id);
  if (other != nullptr && !options.incoming) {
    co_return refuse(
        ErrorKind::kBusy,
        fmt::format("disk {} is attached ({}): detach or fence it first, or attach --incoming for "
                    "the destination of its migration",
                    name, attachment_text(id, *other)));
  }
  const AttachmentsValue* known = engine_->tree().attachments(id);
  if (known != nullptr && known->all.size() == kMostAttachments && std::ranges::all_of(known->all, live)) {
    co_return refuse(ErrorKind::kBusy,
                     fmt::format("disk {} has {} attachments, which is all there can be: detach some first",
                                 name, kMostAttachments));
  }
  AttachmentValue made;
  made.state = options.incoming ? AttachmentState::kIncoming : AttachmentState::kActive;
  made.token = random_uuid();
  made.created_unix_ms = wall_now();
  made.label = options.label;
  const auto edit = [&made](AttachmentsValue& value) {
    const auto fenced = std::ranges::find(value.all, AttachmentState::kFenced, &AttachmentValue::state);
    if (value.all.size() == kMostAttachments && fenced != value.all.end()) value.all.erase(fenced);
    made.epoch = ++value.last_epoch;
    value.all.push_back(made);
  };
  const auto record = [&] { return change_attachments(id, edit, true); };
  const AttachmentGate::Fate nobody_s;
  auto done = co_await gate_of(id).change(record, nobody_s);
  if (!done) co_return std::unexpected(done.error());
  co_return describe(id, made);
}

Task<Outcome<std::vector<AttachmentInfo>>> StoreImpl::attachments(std::string disk) {
  auto found = require_disk(disk);
  if (!found) co_return std::unexpected(found.error());
  std::vector<AttachmentInfo> infos;
  const AttachmentsValue* known = engine_->tree().attachments((*found)->id);
  if (known == nullptr) co_return infos;
  for (const AttachmentValue& each : known->all) infos.push_back(describe((*found)->id, each));
  co_return infos;
}

Task<Outcome<std::vector<AttachmentInfo>>> StoreImpl::detach(std::string disk, std::string token) {
  auto found = require_disk(disk);
  if (!found) co_return std::unexpected(found.error());
  const AttachmentsValue* known = engine_->tree().attachments((*found)->id);
  const std::size_t count = known == nullptr ? 0 : known->all.size();
  if (count == 0) co_return refuse(ErrorKind::kNotFound, "disk " + disk + " is not attached");
  if (token.empty() && count > 1) {
    co_return refuse(ErrorKind::kInvalid,
                     fmt::format("disk {} has {} attachments: name the TOKEN of one ('coppice info {}' shows "
                                 "them), or all with --all",
                                 disk, count, disk));
  }
  if (!token.empty() && find_attachment((*found)->id, token) == nullptr) {
    co_return refuse(ErrorKind::kNotFound,
                     fmt::format("disk {} has no attachment {}: 'coppice info {}' shows what there is", disk,
                                 token, disk));
  }
  const auto whom = [token](const AttachmentValue& each) {
    return token.empty() || to_text(each.token) == token;
  };
  auto done = co_await end_attachments(std::move(disk), whom, Ending::kDetached);
  co_return done;
}

Task<Outcome<std::vector<AttachmentInfo>>> StoreImpl::detach_all(std::string disk) {
  const auto whom = [](const AttachmentValue&) { return true; };
  auto done = co_await end_attachments(std::move(disk), whom, Ending::kDetached);
  co_return done;
}

Task<Outcome<std::vector<AttachmentInfo>>> StoreImpl::fence(std::string disk) {
  auto done = co_await end_attachments(std::move(disk), live, Ending::kFenced);
  co_return done;
}

Task<Outcome<std::vector<AttachmentInfo>>> StoreImpl::end_attachments(std::string name, Whom whom,
                                                                      Ending ending) {
  auto writable = require_writable();
  if (!writable) co_return std::unexpected(writable.error());
  auto disk = require_disk(name);
  if (!disk) co_return std::unexpected(disk.error());
  const DiskId id = (*disk)->id;
  AttachmentGate& gate = gate_of(id);
  co_await gate.door.lock();
  co_await verbs_.lock();
  auto done = co_await do_end(id, std::move(whom), ending);
  verbs_.unlock();
  if (done && ending == Ending::kDetached) {
    const auto among = [&done](const AttachmentGate::Pass& pass) {
      return std::ranges::find(*done, pass.epoch, &AttachmentInfo::epoch) != done->end();
    };
    co_await gate.dismiss(among, "it was detached");
  }
  gate.door.unlock();
  co_return done;
}

Task<Outcome<std::vector<AttachmentInfo>>> StoreImpl::do_end(DiskId id, Whom whom, Ending ending) {
  const TreeDisk* disk = engine_->tree().disk(id);
  if (disk == nullptr || engine_->tree().trashed(id)) {
    co_return refuse(ErrorKind::kNotFound, "the disk was removed meanwhile");
  }
  const OpenBy* plain = plain_holder(disk->value.head, true);
  if (ending == Ending::kFenced && plain != nullptr) {
    co_return refuse(
        ErrorKind::kBusy,
        fmt::format("disk {} is open for writing without an attachment ({}), which can't be fenced: "
                    "close it there",
                    disk->value.name, plain->description));
  }
  std::vector<AttachmentInfo> ended;
  if (const AttachmentsValue* known = engine_->tree().attachments(id)) {
    for (const AttachmentValue& each : known->all) {
      if (whom(each)) ended.push_back(describe(id, each));
    }
  }
  if (ended.empty()) co_return ended;
  const auto is_ended = [&ended](std::uint64_t epoch) {
    return std::ranges::find(ended, epoch, &AttachmentInfo::epoch) != ended.end();
  };
  const auto edit = [&](AttachmentsValue& value) {
    if (ending == Ending::kDetached)
      std::erase_if(value.all, [&](const AttachmentValue& each) { return is_ended(each.epoch); });
    for (AttachmentValue& each : value.all) {
      if (is_ended(each.epoch)) each.state = AttachmentState::kFenced;
    }
  };
  const auto record = [&] { return change_attachments(id, edit, true); };
  const auto fate = [&](const AttachmentGate::Pass& pass) {
    return is_ended(pass.epoch) ? AttachmentState::kFenced : pass.state;
  };
  auto done = co_await gate_of(id).change(record, fate);
  if (!done) co_return std::unexpected(done.error());
  co_return ended;
}

}  // namespace coppice
