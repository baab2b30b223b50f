#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <CLI/CLI.hpp>
#include <array>
#include <cerrno>
#include <cstring>
#include <memory>

#include "cli/files/compare_trees.h"
#include "cli/files/guest_path.h"
#include "cli/files/listing.h"
#include "cli/files/opened_volume.h"
#include "cli/files/tar_stream.h"
#include "cli/interrupt.h"
#include "cli/verb.h"

namespace coppice::cli {
namespace {

constexpr std::size_t kPieceBytes = std::size_t{1} << 20;

struct Options {
  std::string from;
  std::string to;
  Wanted wanted;
  bool force = false;
};

// With a PATH, which ls alone can do without.
Outcome<GuestPlace> place_with_path(const std::string& text, const char* verb) {
  auto place = parse_place(text);
  if (!place || !place->path.empty()) return place;
  return refuse(ErrorKind::kInvalid, "files " + std::string(verb) + " needs a path: " + text + ":/PATH");
}

Outcome<int> list_volumes(const GuestPlace& place, const Options& options, OwnTree& tree, Context& context) {
  auto image = tree.open(place.snapshot);
  if (!image) return std::unexpected(image.error());
  if (options.wanted.engine == "guestfs") {
    auto shown = tree.show_at(context.store);
    if (!shown) return std::unexpected(shown.error());
    auto listed = list_by_guest(tree.path_of(place.snapshot));
    if (!listed) return std::unexpected(listed.error());
    return kYes;
  }
  auto volumes = find_volumes(image->get());
  if (!volumes) return std::unexpected(volumes.error());
  context.print(volumes_json(*volumes), render_volumes);
  return kYes;
}

Outcome<int> ls(const Options& options, Context& context) {
  auto place = parse_place(options.from);
  if (!place) return std::unexpected(place.error());
  auto tree = OwnTree::make(context.store, context.mode);
  if (!tree) return std::unexpected(tree.error());
  if (place->path.empty()) return list_volumes(*place, options, *tree, context);
  auto opened = open_volume(*tree, place->snapshot, options.wanted, context.store);
  if (!opened) return std::unexpected(opened.error());
  auto entries = list_files(opened->root(), place->path);
  if (!entries) return std::unexpected(entries.error());
  context.print(*entries, render_files);
  return kYes;
}

Outcome<> pass_on(int file, const std::string& path) {
  std::vector<char> piece(kPieceBytes);
  while (true) {
    if (interrupted()) return refuse(ErrorKind::kBusy, "called off");
    const ssize_t got = read(file, piece.data(), piece.size());
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) return refuse(ErrorKind::kIo, shown(path) + ": " + std::strerror(errno));
    if (got == 0) return {};
    for (ssize_t done = 0; done < got;) {
      const ssize_t written = write(STDOUT_FILENO, piece.data() + done, static_cast<std::size_t>(got - done));
      if (written < 0 && errno != EINTR)
        return refuse(ErrorKind::kIo, std::string("writing to standard output: ") + std::strerror(errno));
      done += std::max<ssize_t>(written, 0);
    }
  }
}

Outcome<> print_file(int root, const std::string& path) {
  auto place = open_inside(root, path, O_PATH, LastLink::kFollowed);
  if (!place) return std::unexpected(place.error());
  auto status = status_of(place->get(), path);
  if (!status) return std::unexpected(status.error());
  if (!S_ISREG(status->st_mode))
    return refuse(ErrorKind::kInvalid, shown(path) + " is no file: 'files cp' copies what else there is");
  auto file = open_inside(root, path, O_RDONLY | O_NONBLOCK, LastLink::kFollowed);
  if (!file) return std::unexpected(file.error());
  return pass_on(file->get(), path);
}

Outcome<int> cat(const Options& options, Context& context) {
  auto place = place_with_path(options.from, "cat");
  if (!place) return std::unexpected(place.error());
  auto tree = OwnTree::make(context.store, context.mode);
  if (!tree) return std::unexpected(tree.error());
  auto opened = open_volume(*tree, place->snapshot, options.wanted, context.store);
  if (!opened) return std::unexpected(opened.error());
  auto printed = print_file(opened->root(), place->path);
  if (!printed) return std::unexpected(printed.error());
  return kYes;
}

// Opened first: what is mounted later may hide it.
Outcome<UniqueFd> target_folder(const Options& options, const Entry& entry) {
  UniqueFd folder(open(options.to.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  if (!folder.valid())
    return refuse(ErrorKind::kNotFound, options.to + ": " + std::strerror(errno) +
                                            ": give a folder that is there, or - for a tar stream");
  struct stat status{};
  if (options.force || entry.name == "." ||
      fstatat(folder.get(), entry.name.c_str(), &status, AT_SYMLINK_NOFOLLOW) != 0)
    return folder;
  return refuse(ErrorKind::kExists,
                options.to + "/" + shown(entry.name) + " is there: --force writes over it");
}

Outcome<int> cp(const Options& options, Context& context) {
  auto place = place_with_path(options.from, "cp");
  if (!place) return std::unexpected(place.error());
  const Entry entry = split_path(place->path);
  UniqueFd into;
  if (options.to != "-") {
    auto folder = target_folder(options, entry);
    if (!folder) return std::unexpected(folder.error());
    into = std::move(*folder);
  }
  auto tree = OwnTree::make(context.store, context.mode);
  if (!tree) return std::unexpected(tree.error());
  auto opened = open_volume(*tree, place->snapshot, options.wanted, context.store);
  if (!opened) return std::unexpected(opened.error());
  auto folder = open_inside(opened->root(), entry.folder, O_PATH | O_DIRECTORY, LastLink::kFollowed);
  if (!folder) return std::unexpected(folder.error());
  struct stat status{};
  if (fstatat(folder->get(), entry.name.c_str(), &status, AT_SYMLINK_NOFOLLOW) != 0)
    return refuse(ErrorKind::kNotFound, shown(place->path) + ": " + std::strerror(errno));
  auto copied = into.valid() ? copy_by_tar(folder->get(), entry.name, into.get())
                             : write_tar(folder->get(), entry.name, STDOUT_FILENO);
  if (!copied) return std::unexpected(copied.error());
  return kYes;
}

// What lies between the two, of the volume.
Outcome<ChangedRanges> changes_between(const Spec& from, const Spec& to, const Volume& volume,
                                       Context& context) {
  const Json params{{"from", from.text()}, {"to", to.text()}, {"offset", 0}};
  auto answer = context.session.call(Request{.method = "diff", .params = params});
  if (!answer) return std::unexpected(answer.error());
  std::vector<ByteRange> ranges;
  for (const auto& range : *answer)
    ranges.push_back({range.value("offset", std::uint64_t{0}), range.value("length", std::uint64_t{0})});
  // A volume of libguestfs's has no place of its own.
  const std::uint64_t length = volume.length_bytes == 0 ? UINT64_MAX : volume.length_bytes;
  return ChangedRanges(ranges, {volume.offset_bytes, length});
}

Outcome<> compare(const OpenedVolume& first, const OpenedVolume& second, const std::string& path,
                  const ChangedRanges& changed, FileChanges& into) {
  auto one = open_inside(first.root(), path, O_PATH | O_DIRECTORY, LastLink::kFollowed);
  if (!one) return std::unexpected(one.error());
  auto other = open_inside(second.root(), path, O_PATH | O_DIRECTORY, LastLink::kFollowed);
  if (!other) return std::unexpected(other.error());
  const Comparison comparison{
      .one = one->get(),
      .other = other->get(),
      .telling = first.telling(),
      .changed = changed,
      .tell = [&into](const std::string& name, Difference what) { into.add(name, what); }};
  return compare_trees(comparison, path);
}

Outcome<int> diff(const Options& options, Context& context) {
  auto from = parse_place(options.from);
  if (!from) return std::unexpected(from.error());
  auto to = parse_place(options.to);
  if (!to) return std::unexpected(to.error());
  auto tree = OwnTree::make(context.store, context.mode);
  if (!tree) return std::unexpected(tree.error());
  // Before what may hide the store from this process.
  auto reached = context.session.call(Request{.method = "info", .params = {{"spec", to->snapshot.text()}}});
  if (!reached) return std::unexpected(reached.error());
  auto first = open_volume(*tree, from->snapshot, options.wanted, context.store);
  if (!first) return std::unexpected(first.error());
  auto second = open_volume(*tree, to->snapshot, options.wanted, context.store);
  if (!second) return std::unexpected(second.error());
  if (first->volume.type != second->volume.type || first->volume.offset_bytes != second->volume.offset_bytes)
    return refuse(ErrorKind::kUnsupported, "the two hold different file systems: nothing can be compared");
  auto changed = changes_between(from->snapshot, to->snapshot, first->volume, context);
  if (!changed) return std::unexpected(changed.error());
  FileChanges changes(context);
  if (!changed->empty()) {
    auto compared = compare(*first, *second, from->path.empty() ? "/" : from->path, *changed, changes);
    if (!compared) return std::unexpected(compared.error());
  }
  changes.finish();
  return kYes;
}

using Action = Outcome<int> (*)(const Options&, Context&);

void add_engine(Parser& parser, Options& options) {
  parser
      .option({"--partition", "N", "Which partition (else the largest file system)"},
              options.wanted.partition)
      .option({"--engine", "loop|guestfs", "Who reads it: the kernel, as root, or libguestfs"},
              options.wanted.engine)
      .option({"--device", "NAME", "What libguestfs calls a volume of LVM: /dev/GROUP/VOLUME"},
              options.wanted.device);
}

}  // namespace

Verb files_verb(CLI::App& program) {
  auto options = std::make_shared<Options>();
  Parser parser(
      program,
      {"files",
       "Files of the file systems in a snapshot: list, print and copy them, or tell which changed between "
       "two. Nothing is written, and nothing is mounted where others see it",
       "coppice files cp web@monday:/etc/nginx /tmp"});
  parser.app().require_subcommand(1);
  struct Row {
    CLI::App* app;
    Action action;
  };
  Parser list(parser.app(), {"ls", "List a folder's files; without a PATH, the disk's partitions",
                             "coppice files ls web@monday:/var/log"});
  list.argument("DISK@SNAP[:/PATH]", options->from, "Where to look");
  Parser print(parser.app(), {"cat", "Print a file", "coppice files cat web@monday:/etc/fstab"});
  print.argument("DISK@SNAP:/PATH", options->from, "What to print");
  Parser copy(parser.app(),
              {"cp", "Copy a file or folder into a folder, with owners, modes, times and attributes",
               "coppice files cp web@monday:/etc/nginx - | tar -tv"});
  copy.argument("DISK@SNAP:/PATH", options->from, "What to copy")
      .argument("FOLDER", options->to, "Where to, or - for a tar stream on standard output")
      .flag("--force,-f", options->force, "Write over what is there");
  Parser compare(
      parser.app(),
      {"diff",
       "List what changed between two snapshots: + added, - removed, M content, m owner, mode, times, "
       "attributes",
       "coppice files diff web@monday web@tuesday"});
  compare.argument("DISK@A[:/PATH]", options->from, "The first side, and the folder to look at")
      .argument("DISK@B", options->to, "The second side");
  std::vector<Row> rows;
  for (auto& [each, action] :
       std::vector<std::pair<Parser*, Action>>{{&list, ls}, {&print, cat}, {&copy, cp}, {&compare, diff}}) {
    add_engine(*each, *options);
    each->app().fallthrough();
    rows.push_back({&each->app(), action});
  }
  return {parser, [options, rows](Context& context) -> Outcome<int> {
            auto good = check_wanted(options->wanted);
            if (!good) return std::unexpected(good.error());
            call_off_on_interrupt();
            const auto chosen = std::ranges::find_if(rows, [](const Row& row) { return row.app->parsed(); });
            return chosen->action(*options, context);
          }};
}

}  // namespace coppice::cli
