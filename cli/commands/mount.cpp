#include <grp.h>
#include <pwd.h>
#include <unistd.h>

#include <charconv>
#include <memory>

#include "cli/background.h"
#include "cli/control_client.h"
#include "cli/daemon.h"
#include "cli/daemon_log.h"
#include "cli/store_directory.h"
#include "cli/verb.h"

namespace coppice::cli {
namespace {

constexpr std::uint64_t kCacheBytes = std::uint64_t{256} << 20;
constexpr unsigned kMostMode = 0777;

struct Options {
  std::string directory;
  std::string uid;
  std::string gid;
  std::string mode = "0644";
  bool allow_other = false;
  bool shared = false;
  bool foreground = false;
};

std::optional<std::uint32_t> number_of(const std::string& text, int base) {
  std::uint32_t value = 0;
  const char* end = text.data() + text.size();
  const auto [stop, error] = std::from_chars(text.data(), end, value, base);
  if (text.empty() || error != std::errc() || stop != end) return std::nullopt;
  return value;
}

Outcome<uid_t> user_of(const std::string& text) {
  if (text.empty()) return geteuid();
  if (const auto number = number_of(text, 10)) return *number;
  const passwd* user = getpwnam(text.c_str());
  if (user != nullptr) return user->pw_uid;
  return refuse(ErrorKind::kInvalid, "--uid: there is no user '" + text + "': give a name or a number");
}

Outcome<gid_t> group_of(const std::string& text) {
  if (text.empty()) return getegid();
  if (const auto number = number_of(text, 10)) return *number;
  const group* found = getgrnam(text.c_str());
  if (found != nullptr) return found->gr_gid;
  return refuse(ErrorKind::kInvalid, "--gid: there is no group '" + text + "': give a name or a number");
}

Outcome<fuse::MountOptions> mount_options(const Options& options) {
  const auto uid = user_of(options.uid);
  if (!uid) return std::unexpected(uid.error());
  const auto gid = group_of(options.gid);
  if (!gid) return std::unexpected(gid.error());
  const auto mode = number_of(options.mode, 8);
  if (!mode || *mode > kMostMode)
    return refuse(ErrorKind::kInvalid,
                  "--mode: '" + options.mode + "' is no mode of a file: give it as 0640");
  return fuse::MountOptions{.directory = absolute_path(options.directory),
                            .allow_other = options.allow_other,
                            .look = {*uid, *gid, static_cast<mode_t>(*mode), options.shared}};
}

Outcome<Json> mount_by_daemon(ControlClient& client, const fuse::MountOptions& mount) {
  const Json params{{"directory", mount.directory}, {"allow_other", mount.allow_other},
                    {"uid", mount.look.uid},        {"gid", mount.look.gid},
                    {"mode", mount.look.mode},      {"shared", mount.look.shared}};
  return client.call(Request{.method = "mount", .params = params});
}

// A daemon for this mount: the other verbs talk to it, and it ends with its last mount.
Outcome<> mount_alone(const fuse::MountOptions& mount, const Context& context, const Ready& ready) {
  log_to_stderr();
  const DaemonOptions daemon{.store = context.store,
                             .nbd = {},
                             .cache_bytes = kCacheBytes,
                             .mode = context.mode,
                             .mount = mount,
                             .mounted = ready};
  return run_daemon(daemon);
}

std::string render(const Json& answer) {
  return "mounted on " + answer.value("directory", "") + "\n";
}

Outcome<int> mount(const Options& options, Context& context) {
  const auto wanted = mount_options(options);
  if (!wanted) return std::unexpected(wanted.error());
  auto client = ControlClient::connect(context.store);
  if (!client) return std::unexpected(client.error());
  Outcome<Json> answer;
  if (*client) {
    if (options.foreground)
      return refuse(ErrorKind::kInvalid, "--foreground: store " + context.store + " is served by process " +
                                             std::to_string((*client)->daemon_pid()) +
                                             ", which mounts: leave the option out");
    answer = mount_by_daemon(**client, *wanted);
  } else if (options.foreground) {
    const auto told = [&](const std::string& directory) {
      context.print(Json{{"directory", directory}}, render);
      context.out.flush();
    };
    const auto served = mount_alone(*wanted, context, told);
    if (!served) return std::unexpected(served.error());
    return kYes;
  } else {
    const auto work = [&](const Ready& ready) {
      set_log(LogOf::kWarnings);  // the terminal is spared what the log will have
      return mount_alone(*wanted, context, [&ready](const std::string& directory) {
        ready(directory);
        set_log(LogOf::kAll);
      });
    };
    const auto directory = run_in_background(context.store + "/mount.log", work);
    if (!directory) return std::unexpected(directory.error());
    answer = Json{{"directory", *directory}};
  }
  if (!answer) return std::unexpected(answer.error());
  context.print(*answer, render);
  return kYes;
}

}  // namespace

Verb mount_verb(CLI::App& program) {
  auto options = std::make_shared<Options>();
  Parser parser(
      program, {"mount",
                "Mount every disk and every snapshot as a file: DIR/disks/DISK, DIR/snapshots/DISK/SNAP, and "
                "links by time in "
                "DIR/by-time. `coppice serve` does the work where it runs; else a process in the background, "
                "until the last "
                "mount is gone (its messages go to mount.log in the store)",
                "coppice mount /mnt/coppice && mount -o loop,ro /mnt/coppice/snapshots/web/monday /mnt/web"});
  parser.argument("DIR", options->directory, "An empty directory")
      .flag("--allow-other", options->allow_other,
            "Let other users in (who is not root needs user_allow_other in /etc/fuse.conf)")
      .option({"--uid", "USER", "Whose the files are, by name or number (else yours)"}, options->uid)
      .option({"--gid", "GROUP", "Their group (else yours)"}, options->gid)
      .option({"--mode", "MODE", "What may be done with disks; snapshots have no write bits"}, options->mode)
      .flag("--shared", options->shared,
            "Let a disk be written here while NBD clients write it too; else whoever opens it first keeps "
            "the other "
            "from writing")
      .flag("--foreground", options->foreground,
            "Without a daemon: stay, and end with Ctrl-C or the unmount");
  return {parser, [options](Context& context) { return mount(*options, context); }};
}

}  // namespace coppice::cli
