#include <memory>

#include "cli/daemon.h"
#include "cli/daemon_log.h"
#include "cli/fullness.h"
#include "cli/listeners.h"
#include "cli/store_directory.h"
#include "cli/verb.h"
#include "coppice/bytes.h"

namespace coppice::cli {
namespace {

struct Options {
  ListenOptions listen;
  std::string cache = "256M";
  std::string flush = "fast";
  bool keep_space = false;
  std::string low_space = "80,90,95";
  std::string on_event;
  bool null = false;
};

// A store has no part in it: what is said of one would be ignored.
Outcome<> refuse_beside_null(const Options& options, const Context& context) {
  if (!options.null) return {};
  if (context.store_given || context.mode == OpenMode::kReadOnly)
    return refuse(ErrorKind::kInvalid, "--null serves no store: leave --store and --read-only out");
  if (options.listen.listen.empty())
    return refuse(ErrorKind::kInvalid,
                  "--null needs --listen: there is no store that its socket could be in");
  return {};
}

Outcome<int> serve(const Options& options, Context& context) {
  if (auto alone = refuse_beside_null(options, context); !alone) return std::unexpected(alone.error());
  auto cache = parse_size(options.cache);
  if (!cache) return refuse(ErrorKind::kInvalid, "--cache: " + cache.error().message);
  if (options.flush != "fast" && options.flush != "conservative")
    return refuse(ErrorKind::kInvalid, "--flush: '" + options.flush + "' is neither fast nor conservative");
  auto levels = parse_levels(options.low_space);
  if (!levels) return refuse(ErrorKind::kInvalid, "--low-space: " + levels.error().message);
  DaemonOptions daemon{.store = context.store,
                       .null = options.null,
                       .nbd = {},
                       .cache_bytes = *cache,
                       .conservative_flush = options.flush == "conservative",
                       .give_back = !options.keep_space,
                       .low_space = *levels,
                       .on_event = options.on_event,
                       .json = context.json,
                       .mode = context.mode};
  auto listeners = listeners_of(options.listen, context.store);
  if (!listeners) return std::unexpected(listeners.error());
  daemon.nbd = std::move(*listeners);
  auto free = options.null ? Outcome<>{} : refuse_served(context.store);
  if (!free) return std::unexpected(free.error());
  log_to_stderr();
  auto served = run_daemon(daemon);
  if (!served) return std::unexpected(served.error());
  return kYes;
}

}  // namespace

Verb serve_verb(CLI::App& program) {
  auto options = std::make_shared<Options>();
  Parser parser(program, {"serve", "Serve the disks over NBD, in the foreground, until SIGTERM or Ctrl-C",
                          "coppice serve --listen nbd://127.0.0.1:10809"});
  add_listen_options(parser, options->listen);
  parser.option({"--cache", "SIZE", "Memory for the cache of the map and the checksums"}, options->cache)
      .option({"--flush", "ORDER",
               "fast: data and journal under one device flush; conservative: one after the other"},
              options->flush)
      .option({"--low-space", "LEVELS", "Per cents of the pool at which to warn, once each; off: never"},
              options->low_space)
      .option(
          {"--on-event", "CMD",
           "A command for the shell to run then; COPPICE_EVENT (low-space, space-again), COPPICE_PERCENT, "
           "COPPICE_LEVEL, COPPICE_USED, COPPICE_SIZE and COPPICE_STORE tell it what has happened"},
          options->on_event)
      .flag(
          "--keep-space", options->keep_space,
          "Keep what is discarded or deleted, for what comes next; else it goes back to the file system, or "
          "to the device, when it has been free for a while")
      .flag("--null", options->null,
            "Serve no store, but one export `null` of 1 TiB that is all zeroes and forgets what is written: "
            "what "
            "the protocol costs");
  return {parser, [options](Context& context) { return serve(*options, context); }};
}

}  // namespace coppice::cli
