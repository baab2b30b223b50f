#include <memory>

#include "cli/control_client.h"
#include "cli/store_directory.h"
#include "cli/verb.h"
#include "fuse/mount_point.h"

namespace coppice::cli {
namespace {

struct Options {
  std::string directory;
  bool lazy = false;
};

std::string render(const Json& answer) {
  return "unmounted from " + answer.value("directory", "") + "\n";
}

// No daemon has the store: what is mounted there can only be a dead one's.
Outcome<Json> clear_away(const std::string& directory, const std::string& store) {
  auto path = fuse::true_path(directory);
  if (!path) return std::unexpected(path.error());
  auto cleared = fuse::clear_dead_mount(*path);
  if (!cleared) return std::unexpected(cleared.error());
  if (*cleared) return Json{{"directory", *path}};
  return refuse(ErrorKind::kNotFound,
                *path + " is no mount of store " + store +
                    ", which no daemon serves: 'findmnt -t fuse.coppice' lists what is mounted");
}

Outcome<int> unmount(const Options& options, Context& context) {
  const std::string directory = absolute_path(options.directory);
  auto client = ControlClient::connect(context.store);
  if (!client) return std::unexpected(client.error());
  const Json params{{"directory", directory}, {"lazy", options.lazy}};
  auto answer = *client ? (*client)->call(Request{.method = "unmount", .params = params})
                        : clear_away(directory, context.store);
  if (!answer) return std::unexpected(answer.error());
  context.print(*answer, render);
  return kYes;
}

}  // namespace

Verb unmount_verb(CLI::App& program) {
  auto options = std::make_shared<Options>();
  Parser parser(program, {"unmount", "End a mount, once the requests in flight are answered",
                          "coppice unmount /mnt/coppice"});
  parser.argument("DIR", options->directory, "Where it is mounted")
      .flag("--lazy", options->lazy,
            "Also while files are open there: who has them gets errors from then on");
  return {parser, [options](Context& context) { return unmount(*options, context); }};
}

}  // namespace coppice::cli
