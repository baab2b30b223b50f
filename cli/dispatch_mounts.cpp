// The verbs that mount the tree, which only a daemon can.
#include <fcntl.h>

#include <cerrno>
#include <cstring>

#include "cli/dispatcher.h"
#include "cli/files/own_tree.h"
#include "cli/params.h"

namespace coppice::cli {
namespace {

constexpr std::uint64_t kMostMode = 0777;

std::unexpected<Failure> no_daemon(const std::string& store) {
  return refuse(ErrorKind::kUnsupported, "store " + store + " is not served: nothing of it is mounted");
}

}  // namespace

Task<Outcome<Json>> Dispatcher::mount(Call call) {
  Params params(call.params);
  fuse::MountOptions options;
  options.directory = params.text("directory");
  options.allow_other = params.flag("allow_other");
  options.look.uid = static_cast<uid_t>(params.number("uid"));
  options.look.gid = static_cast<gid_t>(params.number("gid"));
  const std::uint64_t mode = params.number("mode");
  options.look.mode = static_cast<mode_t>(mode);
  options.look.shared = params.flag("shared");
  auto valid = params.finish();
  if (valid && mode > kMostMode) valid = refuse(ErrorKind::kInvalid, "parameter 'mode' is above 0777");
  if (!valid) co_return std::unexpected(valid.error());
  if (service_.mounts == nullptr) co_return no_daemon(service_.store);
  auto directory = co_await service_.mounts->mount(options);
  if (!directory) co_return std::unexpected(directory.error());
  co_return Json{{"directory", *directory}};
}

// The tree for one command: the kernel's end of a mount that it made where nobody else sees it.
Task<Outcome<Json>> Dispatcher::serve_tree(Call call) {
  Params params(call.params);
  fuse::MountOptions options;
  options.look =
      own_tree_look(static_cast<uid_t>(params.number("uid")), static_cast<gid_t>(params.number("gid")));
  options.other_process = static_cast<int>(params.number("process"));
  auto valid = params.finish();
  if (valid && call.files.size() != 1)
    valid = refuse(ErrorKind::kInvalid,
                   "serve-tree needs one descriptor, got " + std::to_string(call.files.size()));
  if (!valid) co_return std::unexpected(valid.error());
  if (service_.mounts == nullptr) co_return no_daemon(service_.store);
  options.made_by_other = fcntl(call.files.front(), F_DUPFD_CLOEXEC, 0);
  if (options.made_by_other < 0)
    co_return refuse(ErrorKind::kIo, std::string("taking the tree's descriptor: ") + std::strerror(errno));
  auto served = co_await service_.mounts->mount(options);
  if (!served) co_return std::unexpected(served.error());
  co_return Json::object();
}

Task<Outcome<Json>> Dispatcher::unmount(Call call) {
  Params params(call.params);
  const std::string directory = params.text("directory");
  const bool lazy = params.flag("lazy");
  const auto valid = params.finish();
  if (!valid) co_return std::unexpected(valid.error());
  if (service_.mounts == nullptr) co_return no_daemon(service_.store);
  auto gone = co_await service_.mounts->unmount(directory, lazy);
  if (!gone) co_return std::unexpected(gone.error());
  co_return Json{{"directory", *gone}};
}

}  // namespace coppice::cli
