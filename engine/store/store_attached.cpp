// Devices of attachments: a client comes in by its token.
#include <fmt/format.h>

#include "store/gated_device.h"
#include "store/store_impl.h"

namespace coppice {

// For whoever shows its token and may write, or may come to.
Outcome<const AttachmentValue*> StoreImpl::require_attachment(const std::string& name,
                                                              const std::string& token) {
  auto disk = require_disk(name);
  if (!disk) return std::unexpected(disk.error());
  const AttachmentValue* known = find_attachment((*disk)->id, token);
  if (known == nullptr) {
    return refuse(
        ErrorKind::kNotFound,
        fmt::format("disk {} has no attachment of this token: it was detached, or is another disk's; "
                    "'coppice attach {}' makes a new one",
                    name, name));
  }
  if (known->state != AttachmentState::kFenced) return known;
  return refuse(ErrorKind::kBusy,
                fmt::format("disk {}: this attachment (epoch {}) is fenced, another one may "
                            "write: 'coppice attach {}' makes a new one",
                            name, known->epoch, name));
}

Task<Outcome<std::unique_ptr<BlockDevice>>> StoreImpl::open_attachment(std::string disk, std::string token,
                                                                       Holder holder) {
  auto found = require_disk(disk);
  if (!found) co_return std::unexpected(found.error());
  AttachmentGate& gate = gate_of((*found)->id);
  co_await gate.door.lock();
  Outcome<std::unique_ptr<BlockDevice>> device;
  // Who may not come in doesn't turn anybody out.
  const auto known = require_attachment(disk, token);
  if (known) {
    const auto same = [epoch = (*known)->epoch](const auto& pass) { return pass.epoch == epoch; };
    co_await gate.dismiss(same, "its attachment has a new connection");
    // A rollback or a removal under way decides first whether the disk is still there.
    co_await verbs_.lock();
    device = co_await do_open_attachment(disk, token, std::move(holder));
    verbs_.unlock();
  } else {
    device = std::unexpected(known.error());
  }
  gate.door.unlock();
  co_return device;
}

Task<Outcome<std::unique_ptr<BlockDevice>>> StoreImpl::do_open_attachment(std::string name, std::string token,
                                                                          Holder holder) {
  auto usable = require_writable();
  if (!usable) co_return std::unexpected(usable.error());
  auto found = require_disk(name);
  if (!found) co_return std::unexpected(found.error());
  usable = require_base(*engine_->tree().node((*found)->value.head));
  if (usable) usable = co_await count_for_quota((*found)->id);
  if (!usable) co_return std::unexpected(usable.error());
  // Behind the last suspension: who fences whom goes on meanwhile.
  auto known = require_attachment(name, token);
  if (!known) co_return std::unexpected(known.error());
  const TreeDisk& disk = *engine_->tree().find_disk(name);
  AttachmentGate::Pass pass{(*known)->epoch, (*known)->state, holder};
  auto head = open_head(disk.value.head, name, false, {std::move(holder), true, true});
  co_return make_gated_device(std::move(head), gate_of(disk.id), std::move(pass));
}

}  // namespace coppice
