#include <memory>

#include "cli/attachment_json.h"
#include "cli/verb.h"

namespace coppice::cli {
namespace {

std::string render(const Json& answer) {
  return attachments_text(answer, " writes no more", ": nobody to fence");
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
