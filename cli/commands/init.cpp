#include <algorithm>
#include <cctype>
#include <memory>

#include "cli/store_directory.h"
#include "cli/verb.h"
#include "coppice/bytes.h"
#include "coppice/reactor.h"
#include "coppice/store.h"

namespace coppice::cli {
namespace {

// PATH[:SIZE]. A colon belongs to the path unless a digit follows the last one.
Outcome<PoolSpec> parse_pool(const std::string& text) {
  PoolSpec pool{.path = text, .size_bytes = 0};
  const auto colon = text.rfind(':');
  if (colon != std::string::npos && colon + 1 < text.size() &&
      std::isdigit(static_cast<unsigned char>(text[colon + 1])) != 0) {
    auto size = parse_size(text.substr(colon + 1));
    if (!size) return refuse(ErrorKind::kInvalid, "pool " + text + ": " + size.error().message);
    pool.path = text.substr(0, colon);
    pool.size_bytes = *size;
  }
  if (pool.path.empty())
    return refuse(ErrorKind::kInvalid, "pool '" + text + "' has no path: give PATH or PATH:SIZE");
  pool.path = absolute_path(pool.path);
  return pool;
}

std::string describe(const Json& pool, const std::vector<PoolSpec>& specs) {
  std::string path = pool.value("path", "");
  if (pool.value("grows", false)) return path + " (grows by itself)";
  for (const auto& spec : specs) {
    if (spec.path == path && spec.size_bytes != 0) return path + " (" + format_size(spec.size_bytes) + ")";
  }
  return path;
}

// Opens the store once more, which proves that it can be, to say what is there.
Outcome<int> show(const std::vector<PoolSpec>& specs, Context& context) {
  return context.answer(Request{.method = "pools"}, [&](const Json& pools) {
    std::string text = "made store " + context.store + "\n";
    for (const auto& pool : pools) text += "  pool " + describe(pool, specs) + "\n";
    return text;
  });
}

Outcome<int> init(const std::vector<std::string>& pools, Context& context) {
  InitOptions options{.directory = context.store, .pools = {}};
  for (const auto& text : pools) {
    auto pool = parse_pool(text);
    if (!pool) return std::unexpected(pool.error());
    options.pools.push_back(std::move(*pool));
  }
  auto free = refuse_served(context.store);
  if (!free) return std::unexpected(free.error());
  {
    // Opening the store in show() finds the same things to say.
    const auto notice = [&context](const std::string& text) { context.session.tell_once(text); };
    auto reactor = Reactor::create(notice);
    if (!reactor) return refuse(reactor.error(), "store " + context.store);
    auto made = (*reactor)->run(init_store(**reactor, options, notice));
    if (!made) return std::unexpected(made.error());
  }
  return show(options.pools, context);
}

}  // namespace

Verb init_verb(CLI::App& program) {
  auto pools = std::make_shared<std::vector<std::string>>();
  Parser parser(program,
                {"init", "Make a store", "coppice init --store /srv/coppice --pool /srv/coppice/pool:200G"});
  parser.repeated_option(
      {"--pool", "PATH[:SIZE]",
       "Where the data goes: a file or a raw block device; repeat it for more. Without SIZE a file grows by "
       "itself and a device is used whole; without --pool it is a file in the store that grows"},
      *pools);
  return {parser, [pools](Context& context) { return init(*pools, context); }};
}

}  // namespace coppice::cli
