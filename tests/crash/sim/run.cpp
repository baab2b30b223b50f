#include "run.h"

#include <algorithm>

namespace coppice::sim {

namespace {

// A life of the store that does not come to its end in this many steps hangs.
constexpr std::uint64_t kHangSteps = 3'000'000;

class Run {
 public:
  explicit Run(const RunOptions& options)
      : options_(options),
        rng_(options.seed),
        machine_(rng_, random_shape(rng_)),
        shared_{.rng = rng_, .machine = machine_, .oracle = {}, .pending = {}, .violation = {}} {}

  RunResult go() {
    shared_.dump = options_.dump;
    for (std::uint64_t life = 0; life < options_.crashes && shared_.violation.empty(); ++life) one_life(life);
    if (shared_.violation.empty()) last_life();
    result_.operations = shared_.operations;
    result_.verbs = shared_.verbs;
    result_.maps_lost = machine_.maps_lost;
    if (!shared_.violation.empty()) result_.violation = shared_.violation + " [after" + past_ + "]";
    return result_;
  }

 private:
  Crash crash_kind() {
    const bool power = options_.kinds == Kinds::kPower || (options_.kinds == Kinds::kBoth && rng_.once_in(2));
    return power ? Crash::kPower : Crash::kKill;
  }

  // Starts a life and makes up to `most` steps of it; true if the condition came true before.
  template <class Done>
  bool step_until(Session& session, std::uint64_t most, Done done) {
    while (!done() && shared_.violation.empty()) {
      if (session.scheduler().steps() >= most) return false;
      if (!session.scheduler().step()) {
        if (machine_.disk.faults.fired) return false;  // it gave up
        shared_.violate("nothing is left to do, but something waits");
        return false;
      }
    }
    return true;
  }

  void begin(Session& session) { spawn(session.start(moment_)); }

  void crash(Session& session) {
    session.note_crash();
    const Crash kind = crash_kind();
    const Moment last = moment_;
    if (!session.started()) ++result_.recoveries_cut;
    // After a failed sync the staging file says nothing any more.
    moment_ = kind == Crash::kPower        ? Moment::kPower
              : machine_.disk.faults.fired ? Moment::kFailedSync
              : session.started()          ? Moment::kKill
                                           : last;
    past_ += kind == Crash::kPower ? " power" : " kill";
    if (!session.started()) past_ += "(recovering)";
    past_ += machine_.disk.faults.what;
    machine_.crash(kind);
    if (machine_.lose_map) past_ += "(map lost)";
    ++result_.crashes;
  }

  void one_life(std::uint64_t life) {
    auto* session = new Session(shared_);  // left behind by the crash
    if (options_.faults && rng_.once_in(2)) {
      shared_.damage_allowed = true;
      machine_.disk.faults = {.fail_io_in = rng_.once_in(2) ? rng_.between(1, 3000) : 0,
                              .fail_sync_in = rng_.once_in(2) ? rng_.between(1, 200) : 0};
    }
    begin(*session);
    std::uint64_t most = random_steps();
    if (life == 0 && options_.cut_at != 0) most = options_.cut_at;
    const bool close = options_.cut_at == 0 && !options_.faults && rng_.once_in(10);
    if (close) most = random_steps() + 3000;
    step_until(*session, most, [] { return false; });
    // The order of a checkpoint's steps matters most: many lives end within one, or just behind it.
    if (!close && options_.cut_at == 0 && rng_.once_in(3)) to_checkpoint(*session);
    if (!shared_.violation.empty()) return;
    if (!close || !session->started()) return crash(*session);
    end_in_order(session);
  }

  void to_checkpoint(Session& session) {
    const auto running = [&] {
      return session.started() && session.process().engine->checkpointer().running();
    };
    const std::uint64_t most = session.scheduler().steps() + 4000;
    if (!step_until(session, most, running)) return;
    const bool behind = rng_.once_in(3);
    if (behind) step_until(session, most + 2000, [&] { return !running(); });
    step_until(session, session.scheduler().steps() + rng_.below(behind ? 40 : 200), [] { return false; });
  }

  // Mostly short, so that there are many; one in four dies while it recovers.
  std::uint64_t random_steps() {
    if (rng_.once_in(4)) return rng_.between(1, 400);
    const std::uint64_t most = rng_.once_in(6) ? options_.most_steps * 4 : options_.most_steps;
    return rng_.between(100, std::max<std::uint64_t>(101, rng_.between(200, most)));
  }

  void end_in_order(Session* session) {
    spawn(session->finish(true));
    if (!step_until(*session, session->scheduler().steps() + kHangSteps, [&] { return session->finished(); }))
      shared_.violate("the store does not come to an end, it hangs while " + session->doing());
    moment_ = Moment::kKill;
    ++result_.closes;
    past_ += " close";
    if (shared_.violation.empty()) delete session;
  }

  void last_life() {
    auto* session = new Session(shared_);
    machine_.disk.faults = {};
    shared_.damage_allowed = false;
    begin(*session);
    if (!step_until(*session, kHangSteps, [&] { return session->started(); }))
      return shared_.violate("recovery does not come to an end: something hangs");
    if (shared_.violation.empty()) end_in_order(session);
  }

  RunOptions options_;
  Rng rng_;
  Machine machine_;
  Shared shared_;
  RunResult result_;
  Moment moment_ = Moment::kKill;
  std::string past_;
};

}  // namespace

RunResult run_seed(const RunOptions& options) {
  auto* run = new Run(options);  // what crashed refers to it
  return run->go();
}

}  // namespace coppice::sim
