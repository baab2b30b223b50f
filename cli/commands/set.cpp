#include <memory>
#include <optional>
#include <string_view>

#include "cli/base_image.h"
#include "cli/verb.h"
#include "coppice/bytes.h"

namespace coppice::cli {
namespace {

struct Options {
  std::string disk;
  std::string setting;
};

std::optional<bool> strictness(const std::string& setting) {
  if (setting == "strict=on") return true;
  if (setting == "strict=off") return false;
  return std::nullopt;
}

std::string render(const Json& answer) {
  return "disk " + answer.value("name", "") +
         (answer.value("strict", false)
              ? " is strict now: every write goes to a fresh block\n"
              : " is not strict now: what no snapshot sees is overwritten in place\n");
}

constexpr std::string_view kBase = "base=";

Outcome<int> set_base(const Options& options, Context& context) {
  // The store reads it as what it was when the disk was made, and compares.
  auto image = open_base_image(options.setting.substr(kBase.size()), "raw");
  if (!image) return std::unexpected(image.error());
  const Json params{{"disk", options.disk}, {"base", image->path}};
  const Request request{.method = "set-base", .params = params, .file = image->file.get()};
  return context.answer(request, [](const Json& answer) {
    return "disk " + answer.value("name", "") + " stands on " + answer.value("base", "") + " now\n";
  });
}

std::string render_quota(const Json& answer) {
  const std::string disk = "disk " + answer.value("name", "");
  const Json quota = answer.value("quota", Json());
  if (!quota.is_number()) return disk + " has no quota now\n";
  return disk + " may take " + format_size(quota.get<std::uint64_t>()) + " of the pool now, and has " +
         format_size(answer.value("charged", std::uint64_t{0})) + "\n";
}

Outcome<int> set_quota(const Options& options, Context& context) {
  const std::string text = options.setting.substr(options.setting.find('=') + 1);
  const auto size = text == "none" ? Outcome<std::uint64_t>(0) : parse_size(text);
  if (!size || (*size == 0 && text != "none")) {
    return refuse(ErrorKind::kInvalid, "disk " + options.disk + ": '" + options.setting +
                                           "' is no quota: give quota=10G, or quota=none");
  }
  const Json params{{"disk", options.disk}, {"size", *size}};
  return context.answer(Request{.method = "quota", .params = params}, render_quota);
}

Outcome<int> set(const Options& options, Context& context) {
  if (options.setting.starts_with(kBase)) return set_base(options, context);
  if (options.setting.starts_with("quota=")) return set_quota(options, context);
  const std::optional<bool> strict = strictness(options.setting);
  if (!strict) {
    return refuse(ErrorKind::kInvalid,
                  "disk " + options.disk + ": '" + options.setting +
                      "' is not known: give strict=on, strict=off, quota=SIZE, quota=none or base=PATH");
  }
  const Json params{{"disk", options.disk}, {"strict", *strict}};
  return context.answer(Request{.method = "set", .params = params}, render);
}

}  // namespace

Verb set_verb(CLI::App& program) {
  auto options = std::make_shared<Options>();
  Parser parser(program,
                {"set", "Change how a disk is written, what it may take of the pool, or where its base is",
                 "coppice set web quota=10G"});
  parser.argument("DISK", options->disk, "The disk")
      .argument(
          "SETTING", options->setting,
          "strict=on: every write goes to a fresh block, so that after a crash each 4 KiB block is the old "
          "one or the new one, whole; it takes more space and leaves the disk in pieces. strict=off: what "
          "no snapshot sees is overwritten in place. quota=SIZE: what was written to the disk and is still "
          "in use, by it or its "
          "snapshots, may be so much; a write beyond it fails as on a full pool. quota=none: as much as "
          "there is. base=PATH: where the image is now on which the disk stands (of all that stand on it); "
          "it must be the same. All but a quota is changed while nobody has the disk open.");
  return {parser, [options](Context& context) { return set(*options, context); }};
}

}  // namespace coppice::cli
