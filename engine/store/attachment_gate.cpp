#include "store/attachment_gate.h"

#include <algorithm>
#include <cerrno>
#include <utility>

namespace coppice {

void AttachmentGate::leave(Passes::iterator pass) {
  passes_.erase(pass);
  gone_.wake_all();
}

bool AttachmentGate::try_write(const Pass& pass) {
  if (pass.state != AttachmentState::kActive || changing_) return false;
  ++writes_;
  return true;
}

void AttachmentGate::wrote() {
  if (--writes_ == 0) drained_.wake_all();
}

Task<Result<>> AttachmentGate::write(Pass& pass) {
  Result<> ready;
  if (pass.state != AttachmentState::kFenced) {
    co_await turn_.lock();
    if (pass.state == AttachmentState::kIncoming) ready = co_await promote_in_turn(pass);
    turn_.unlock();
  }
  if (!ready) co_return ready;
  if (pass.state == AttachmentState::kFenced) {
    co_return fail(ErrorKind::kBusy, ESHUTDOWN, "this attachment is fenced: it writes no more");
  }
  // Whoever is next in turn runs only after this step, and waits for this write.
  ++writes_;
  co_return Result<>{};
}

Task<Result<>> AttachmentGate::promote_in_turn(const Pass& pass) {
  const std::uint64_t epoch = pass.epoch;
  const auto record = [this, epoch] { return promote_(epoch); };
  const auto fate = [epoch](const Pass& other) {
    if (other.epoch == epoch) return AttachmentState::kActive;
    return other.epoch < epoch ? AttachmentState::kFenced : other.state;
  };
  auto done = co_await change_in_turn(record, fate);
  if (!done) co_return fail(done.error().kind, EIO, "the fence can't be made durable");
  co_return Result<>{};
}

Task<Outcome<>> AttachmentGate::change(Record record, Fate fate) {
  co_await turn_.lock();
  auto done = co_await change_in_turn(std::move(record), std::move(fate));
  turn_.unlock();
  co_return done;
}

Task<Outcome<>> AttachmentGate::change_in_turn(Record record, Fate fate) {
  changing_ = static_cast<bool>(fate);
  while (changing_ && writes_ != 0) co_await drained_.wait();
  auto done = co_await record();
  changing_ = false;
  if (!done || !fate) co_return done;
  for (Pass& pass : passes_) pass.state = fate(pass);
  co_return done;
}

void AttachmentGate::ask_to_leave(const Whom& whom, const std::string& why) {
  for (Pass& pass : passes_) {
    if (!whom(pass) || std::exchange(pass.dismissed, true)) continue;
    if (pass.holder.leave) pass.holder.leave(why);
  }
}

Task<void> AttachmentGate::dismiss(Whom whom, std::string why) {
  while (std::ranges::any_of(passes_, whom)) {
    ask_to_leave(whom, why);
    co_await gone_.wait();
  }
}

}  // namespace coppice
