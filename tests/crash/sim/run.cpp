#include "run.h"

#include <fmt/format.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <cstdlib>

namespace coppice::sim {

namespace {

// A life of the store that does not come to its end in this many steps hangs.
constexpr std::uint64_t kHangSteps = 3'000'000;

// What a branch tells the process that it left; in memory that both see.
struct BranchReport {
  std::uint64_t crashes = 0;
  std::uint64_t recoveries_cut = 0;
  std::uint64_t closes = 0;
  std::uint64_t maps_lost = 0;
  char violation[1000] = {};
};

BranchReport* shared_report() {
  void* memory =
      mmap(nullptr, sizeof(BranchReport), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
  if (memory == MAP_FAILED) std::abort();
  return new (memory) BranchReport;
}

Shape shape_of(const RunOptions& options, Rng& rng) {
  if (!options.scene.empty()) return scene_shape(rng, *find_scene(options.scene));
  Shape shape = random_shape(rng);
  if (!options.quiet) return shape;
  be_quiet(shape, rng);
  shape.slab_blocks = 256;
  shape.max_slabs = 3;
  return shape;
}

// Neighbouring seeds give one stream, a draw apart. Random programs go their own ways in it; a scene, which
// draws little, would fall into step with the one before, and many seeds be one.
Rng rng_of(const RunOptions& options) {
  Rng rng(options.seed);
  return options.scene.empty() ? rng : Rng(rng.next());
}

class Run {
 public:
  explicit Run(const RunOptions& options)
      : options_(options),
        rng_(rng_of(options)),
        machine_(rng_, shape_of(options, rng_)),
        shared_{
            .rng = rng_, .machine = machine_, .oracle = {}, .pending = {}, .violation = {}, .favour = {}} {}

  RunResult go() {
    shared_.dump = options_.dump;
    shared_.attachments = options_.attachments;
    shared_.favour = options_.favour;
    shared_.scene = find_scene(options_.scene);
    if (options_.branch_every != 0) choose_branch();
    if (shared_.scene != nullptr) play();
    for (std::uint64_t life = 0; life < options_.crashes && going() && shared_.scene == nullptr; ++life)
      one_life();
    until_branch_ = 0;
    if (going() && shared_.scene == nullptr) last_life();
    result_.operations = shared_.operations;
    result_.verbs = shared_.verbs;
    result_.violation = violation();
    result_.maps_lost += machine_.maps_lost;
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
    while (!done() && going()) {
      if (session.scheduler().steps() >= most) return false;
      if (until_branch_ != 0) come_to_branch(session);
      if (!going()) return false;
      if (!session.scheduler().step()) {
        if (machine_.disk.faults.fired) return false;  // it gave up
        shared_.violate("nothing is left to do, but something waits");
        return false;
      }
    }
    return true;
  }

  void begin(Session& session) { spawn(session.start(moment_)); }

  void crash(Session& session) { crash(session, crash_kind()); }
  void crash(Session& session, Crash kind) {
    session.note_crash();
    const Moment last = moment_;
    if (!session.started()) ++result_.recoveries_cut;
    // After a failed sync the staging file says nothing any more.
    moment_ = kind == Crash::kPower        ? Moment::kPower
              : machine_.disk.faults.fired ? Moment::kFailedSync
              : session.started()          ? Moment::kKill
                                           : last;
    if (moment_ != Moment::kKill) shared_.oracle.forget_frees();
    past_ += kind == Crash::kPower ? " power" : " kill";
    if (!session.started()) past_ += "(recovering)";
    past_ += machine_.disk.faults.what;
    machine_.crash(kind);
    if (machine_.lose_map) past_ += "(map lost)";
    ++result_.crashes;
  }

  void play() {
    options_.branch_every = until_branch_ = 1;
    const Scene& scene = *shared_.scene;
    for (std::uint64_t phase = 1; going(); ++phase) {
      shared_.phase = phase;
      shared_.scene_ended = false;
      shared_.at_stake = phase == scene.phases && scene.recovery_at_stake;
      auto* session = new Session(shared_);
      const bool fails = phase == scene.failing_phase;
      shared_.damage_allowed = fails;
      if (fails) machine_.disk.faults = {.fail_sync_in = 1};
      begin(*session);
      const bool ended = step_until(*session, kHangSteps, [&] { return shared_.scene_ended; });
      if (!ended && going() && !machine_.disk.faults.fired)
        shared_.violate("scene: it does not come to its end");
      if (!going() || phase == scene.phases) break;
      crash(*session, scene.crash);
      if (phase == 1 && scene.map_lost) machine_.lose_map = true;
    }
    if (going() && branches_ == 0) shared_.violate("scene: it came to no crash");
    shared_.at_stake = false;
    shared_.phase = 0;
  }

  void one_life() {
    auto* session = new Session(shared_);  // left behind by the crash
    if (options_.faults && rng_.once_in(2)) {
      shared_.damage_allowed = true;
      machine_.disk.faults = {.fail_io_in = rng_.once_in(2) ? rng_.between(1, 3000) : 0,
                              .fail_sync_in = rng_.once_in(2) ? rng_.between(1, 200) : 0,
                              .of_superblocks = rng_.once_in(3)};
      if (machine_.disk.faults.of_superblocks) machine_.disk.faults.fail_sync_in = rng_.between(1, 30);
    }
    begin(*session);
    std::uint64_t most = random_steps();
    const bool close = !options_.faults && rng_.once_in(10);
    if (close) most = random_steps() + 3000;
    step_until(*session, most, [] { return false; });
    // The order of a checkpoint's steps matters most: many lives end within one, or just behind it.
    if (!close && rng_.once_in(3)) to_checkpoint(*session);
    if (!going()) return;
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

  // What it accepted is not durable yet, perhaps.
  void to_end_of_scrub(Session& session) {
    step_until(session, 4000, [&] {
      return session.started() && !session.process().engine->parts().granules.any_suspect();
    });
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
    Session* session = recover();
    if (going()) end_in_order(session);
  }

  Session* recover() {
    auto* session = new Session(shared_);
    machine_.disk.faults = {};
    shared_.damage_allowed = false;
    begin(*session);
    if (!step_until(*session, kHangSteps, [&] { return session->started(); }))
      shared_.violate("recovery does not come to an end: something hangs");
    return session;
  }

  // False: a violation was found, or a branch that was to be replayed is done.
  [[nodiscard]] bool going() const { return shared_.violation.empty() && !replayed_; }
  [[nodiscard]] std::string violation() const {
    return shared_.violation.empty() ? "" : shared_.violation + " [after" + past_ + "]";
  }

  void choose_branch() { until_branch_ = rng_.between(1, 2 * options_.branch_every - 1); }

  // What a crash leaves is most open while a sync is under way: those moments count more.
  void come_to_branch(Session& session) {
    const std::uint64_t weight = machine_.disk.syncs_under_way != 0 ? 4 : 1;
    if (shared_.scene != nullptr && !shared_.at_stake) return;
    until_branch_ -= std::min(until_branch_, weight);
    if (until_branch_ == 0) branch(session);
  }

  // The seed is drawn whether or not the branch is taken, so what comes behind does not depend on that.
  void branch(Session& session) {
    const std::uint64_t seed = rng_.next();
    choose_branch();
    ++branches_;
    if (options_.branch == branches_) {
      follow(session, seed);
      replayed_ = true;
    } else if (options_.branch == 0) {
      fork_off(session, seed);
    }
  }

  // The branch: a crash here, perhaps others while recovering from it or soon afterwards, and a look at all
  // there is.
  void follow(Session& session, std::uint64_t seed) {
    rng_ = Rng(seed);
    until_branch_ = 0;
    shared_.phase = 0;
    if (shared_.scene != nullptr && shared_.scene->phases == 1)
      crash(session, shared_.scene->crash);
    else
      crash(session);
    while (going() && rng_.once_in(2)) {
      auto* cut = new Session(shared_);
      begin(*cut);
      const bool behind_scrub = rng_.once_in(4);
      if (behind_scrub) to_end_of_scrub(*cut);
      const std::uint64_t most = rng_.between(1, behind_scrub ? 100 : rng_.once_in(4) ? 1000 : 300);
      step_until(*cut, cut->scheduler().steps() + most, [] { return false; });
      if (going()) crash(*cut);
    }
    if (!going()) return;
    Session* recovered = recover();
    if (going() && (shared_.scene != nullptr || rng_.once_in(8))) end_in_order(recovered);
  }

  void fork_off(Session& session, std::uint64_t seed) {
    *report_ = {};
    std::fflush(nullptr);
    const pid_t child = ::fork();
    if (child < 0) std::abort();
    if (child == 0) {
      result_ = {};
      machine_.maps_lost = 0;
      follow(session, seed);
      report_->crashes = result_.crashes;
      report_->recoveries_cut = result_.recoveries_cut;
      report_->closes = result_.closes;
      report_->maps_lost = machine_.maps_lost;
      std::snprintf(report_->violation, sizeof report_->violation, "%s", violation().c_str());
      ::_exit(0);
    }
    int status = 0;
    ::waitpid(child, &status, 0);
    result_.crashes += report_->crashes;
    result_.recoveries_cut += report_->recoveries_cut;
    result_.closes += report_->closes;
    result_.maps_lost += report_->maps_lost;
    if (WIFSIGNALED(status))
      shared_.violate(fmt::format("the engine died of signal {}", WTERMSIG(status)));
    else if (WEXITSTATUS(status) != 0)
      shared_.violate(fmt::format("the engine ended with status {}", WEXITSTATUS(status)));
    else if (report_->violation[0] != 0)
      shared_.violate(report_->violation);
    if (!shared_.violation.empty()) result_.branch = branches_;
  }

  RunOptions options_;
  Rng rng_;
  Machine machine_;
  Shared shared_;
  RunResult result_;
  Moment moment_ = Moment::kKill;
  std::string past_;
  std::uint64_t until_branch_ = 0;  // steps; 0: no branches
  std::uint64_t branches_ = 0;
  bool replayed_ = false;
  BranchReport* report_ = shared_report();
};

}  // namespace

RunResult run_seed(const RunOptions& options) {
  auto* run = new Run(options);  // what crashed refers to it
  return run->go();
}

}  // namespace coppice::sim
