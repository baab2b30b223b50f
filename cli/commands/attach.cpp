#include <algorithm>
#include <memory>

#include "cli/table.h"
#include "cli/verb.h"

namespace coppice::cli {
namespace {

struct Options {
  std::string disk;
  std::string label;
  bool incoming = false;
};

std::string indented(const std::string& text) {
  std::string all;
  for (std::size_t at = 0; at < text.size();) {
    const std::size_t end = std::min(text.find('\n', at), text.size());
    all += "  " + text.substr(at, end - at) + "\n";
    at = end + 1;
  }
  return all;
}

std::string render(const Json& answer) {
  const bool incoming = answer.value("state", "") == "incoming";
  Table table({Table::Align::kLeft, Table::Align::kLeft});
  table.add({"disk", answer.value("name", "")});
  table.add({"epoch", std::to_string(answer.value("epoch", std::uint64_t{0})) +
                          (incoming ? ", incoming: its first write fences the older ones" : "")});
  if (answer.value("label", "") != "") table.add({"label", answer.value("label", "")});
  table.add({"token", answer.value("token", "")});
  table.add({"export", answer.value("export", "")});
  for (const auto& uri : answer.value("nbd", std::vector<std::string>())) table.add({"nbd", uri});
  if (!answer.value("served", false)) table.add({"served", "not now: start `coppice serve`"});
  return table.text() + "\nQEMU:\n" + indented(answer.value("qemu", "")) + "\nlibvirt:\n" +
         indented(answer.value("libvirt", ""));
}

}  // namespace

Verb attach_verb(CLI::App& program) {
  auto options = std::make_shared<Options>();
  Parser parser(program,
                {"attach",
                 "Give the right to write to a disk to one client: an export name with a token. Others read "
                 "the disk meanwhile",
                 "coppice attach web --label host-7"});
  parser.argument("DISK", options->disk, "The disk")
      .flag("--incoming", options->incoming,
            "For the destination of a migration: it reads beside the one that writes, and its first write "
            "fences that one, whose later writes are refused")
      .option({"--label", "TEXT", "Whose it is, for people"}, options->label);
  return {parser, [options](Context& context) {
            Json params{{"disk", options->disk}, {"incoming", options->incoming}};
            if (!options->label.empty()) params["label"] = options->label;
            return context.answer(Request{.method = "attach", .params = params}, render);
          }};
}

}  // namespace coppice::cli
