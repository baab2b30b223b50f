// Disks over a read-only image.
#include "cli/dispatcher.h"

#include <fmt/format.h>

#include "cli/params.h"

namespace coppice::cli {
namespace {

constexpr std::chrono::milliseconds kLook{50};

// The path, and the proof that who asks may read what it names.
Outcome<BaseSource> base_source(const std::string& path, const Call& call) {
  if (!path.starts_with('/')) {
    return refuse(ErrorKind::kInvalid,
                  "base '" + path + "' is no absolute path: the daemon stands elsewhere");
  }
  if (call.files.size() != 1) {
    return refuse(ErrorKind::kInvalid, call.method + " needs one descriptor, got " +
                                           std::to_string(call.files.size()) +
                                           ": pass it beside the request");
  }
  return BaseSource{path, call.files.front()};
}

Outcome<BaseFormat> base_format(const std::string& name) {
  if (name == "raw") return BaseFormat::kRaw;
  if (name == "qcow2") return BaseFormat::kQcow2;
  return refuse(ErrorKind::kInvalid, "'" + name + "' is no format of a base: give raw or qcow2");
}

}  // namespace

Task<Outcome<Json>> Dispatcher::create_over(Call call) {
  Params params(call.params);
  const std::string disk = params.text("disk");
  const std::uint64_t size = params.number("size");
  const DiskPolicy policy{.strict = params.flag("strict")};
  const std::string path = params.text("base");
  const std::string format = params.text_or("format", "raw");
  const auto valid = all_of({params.finish(), need_disk(disk)});
  if (!valid) co_return std::unexpected(valid.error());
  auto base = base_source(path, call);
  if (!base) co_return std::unexpected(base.error());
  const auto read_as = base_format(format);
  if (!read_as) co_return std::unexpected(read_as.error());
  base->format = *read_as;
  auto made = co_await store_.create_disk_over(disk, size, policy, *base);
  if (!made) co_return std::unexpected(made.error());
  co_return Json{{"name", disk}, {"size", *made}, {"strict", policy.strict}, {"base", path}};
}

Task<Outcome<Json>> Dispatcher::set_base(Call call) {
  Params params(call.params);
  const std::string disk = params.text("disk");
  const std::string path = params.text("base");
  const auto valid = all_of({params.finish(), need_disk(disk)});
  if (!valid) co_return std::unexpected(valid.error());
  auto base = base_source(path, call);
  if (!base) co_return std::unexpected(base.error());
  auto changed = co_await store_.set_base(disk, *base);
  if (!changed) co_return std::unexpected(changed.error());
  co_return Json{{"name", disk}, {"base", path}};
}

Task<Outcome<Json>> Dispatcher::flatten(Call call) {
  Params params(call.params);
  const std::string disk = params.text("disk");
  const bool waits = params.flag("wait") || !service_.running;
  const bool stops = params.flag("stop");
  const auto valid = all_of({params.finish(), need_disk(disk)});
  if (!valid) co_return std::unexpected(valid.error());
  if (stops) {
    auto stopped = co_await store_.stop_flatten(disk);
    if (!stopped) co_return std::unexpected(stopped.error());
    co_return Json{{"name", disk}, {"state", "stopped"}};
  }
  const auto pace = service_.running ? Store::FlattenPace::kBackground : Store::FlattenPace::kAtOnce;
  auto started = co_await store_.start_flatten(disk, pace);
  if (!started) co_return std::unexpected(started.error());
  if (!waits) co_return Json{{"name", disk}, {"state", "running"}};
  auto done = co_await follow_flatten(disk, call.hooks);
  if (!done) co_return std::unexpected(done.error());
  co_return Json{{"name", disk}, {"state", "done"}};
}

// A daemon goes on with it when who waits has left; a command is all there is.
Task<Outcome<>> Dispatcher::follow_flatten(std::string disk, formats::TransferHooks& hooks) {
  const Spec spec{disk, {}};
  while (true) {
    auto info = co_await store_.info(spec);
    if (!info) co_return std::unexpected(info.error());
    if (!info->base) co_return Outcome<>{};
    const FlattenInfo state = info->base->flatten.value_or(FlattenInfo{});
    if (!state.running) {
      const std::string why = state.problem.empty() ? "it was stopped" : state.problem;
      co_return refuse(ErrorKind::kIo,
                       fmt::format("disk {} is not flattened: {}; what was copied stays", disk, why));
    }
    if (hooks.progress) hooks.progress(state.copied_bytes, state.total_bytes);
    if (hooks.wanted && !hooks.wanted()) {
      if (!service_.running) (void)co_await store_.stop_flatten(disk);
      co_return refuse(
          ErrorKind::kIo,
          "flattening disk " + disk + " was called off: what was copied stays, flatten it again to go on");
    }
    co_await sleep_for(reactor_, kLook);
  }
}

}  // namespace coppice::cli
