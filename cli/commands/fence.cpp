#include <memory>

#include "cli/verb.h"

namespace coppice::cli {
namespace {

std::string render(const Json& answer) {
  std::string text;
  for (const Json& each : answer.value("attachments", Json::array())) {
    const std::string label = printable(each.value("label", ""));
    text += answer.value("name", "") + ": the attachment of epoch " +
            std::to_string(each.value("epoch", std::uint64_t{0})) +
            (label.empty() ? "" : " (" + label + ")") + " writes no more\n";
  }
  return text.empty() ? answer.value("name", "") + ": nobody to fence\n" : text;
}

}  // namespace

Verb fence_verb(CLI::App& program) {
  auto disk = std::make_shared<std::string>();
  Parser parser(program, {"fence",
                          "Let none of a disk's attachments write any more, before another host takes over; "
                          "when it has ended, none of their writes is under way",
                          "coppice fence web && coppice attach web"});
  parser.argument("DISK", *disk, "The disk");
  return {parser, [disk](Context& context) {
            return context.answer(Request{.method = "fence", .params = {{"disk", *disk}}}, render);
          }};
}

}  // namespace coppice::cli
