// AttachmentGate: which of a disk's attachments may write at this moment.
//
// Each open device of an attachment has a Pass. Of all passes those of one attachment write at a time, and
// who that is changes in one order: no further write is let in, those that are under way end, the change is
// made durable, the passes learn it. So a write of the new writer never runs beside one of the old one, and
// never before a crash would find the fence. Reads and flushes don't come here. Lives on the store's
// scheduler.
#pragma once

#include <functional>
#include <list>
#include <string>

#include "coppice/result.h"
#include "coppice/scheduler.h"
#include "coppice/store.h"
#include "layout/tree_values.h"

namespace coppice {

class AttachmentGate {
 public:
  struct Pass {
    std::uint64_t epoch = 0;
    AttachmentState state = AttachmentState::kFenced;
    Holder holder;
    bool dismissed = false;
  };
  using Passes = std::list<Pass>;
  using Record = std::function<Task<Outcome<>>()>;
  using Fate = std::function<AttachmentState(const Pass&)>;

  // `promote` makes durable that the attachment of an epoch writes, and that older ones are fenced.
  AttachmentGate(Scheduler& scheduler, std::function<Task<Outcome<>>(std::uint64_t epoch)> promote)
      : door(scheduler),
        promote_(std::move(promote)),
        turn_(scheduler),
        drained_(scheduler),
        gone_(scheduler) {}

  [[nodiscard]] const Passes& passes() const { return passes_; }
  Passes::iterator enter(Pass pass) { return passes_.insert(passes_.end(), std::move(pass)); }
  // None of its requests may be under way.
  void leave(Passes::iterator pass);

  // Whether a write may begin at once. Each that began ends with wrote().
  bool try_write(const Pass& pass);
  // The same where that has to be decided: waits for a change under way; an incoming pass becomes the writer.
  Task<Result<>> write(Pass& pass);
  void wrote();

  // A change of the attachments, one at a time. With a fate writes are held off until it is durable, and the
  // passes have it then; without, no pass is concerned.
  Task<Outcome<>> change(Record record, Fate fate);
  using Whom = std::function<bool(const Pass&)>;
  // Asks the holders of these passes to leave, each once.
  void ask_to_leave(const Whom& whom, const std::string& why);
  // … and waits until they are gone.
  Task<void> dismiss(Whom whom, std::string why);

  // Held by whoever has passes leave, and taken before one is given: so nobody comes in meanwhile. Behind it
  // the store's lock for verbs may be taken, never the other way round.
  AsyncMutex door;

 private:
  Task<Outcome<>> change_in_turn(Record record, Fate fate);
  Task<Result<>> promote_in_turn(const Pass& pass);

  std::function<Task<Outcome<>>(std::uint64_t epoch)> promote_;
  Passes passes_;
  std::uint64_t writes_ = 0;  // under way
  bool changing_ = false;     // no further write begins
  AsyncMutex turn_;
  WaitQueue drained_;
  WaitQueue gone_;
};

}  // namespace coppice
