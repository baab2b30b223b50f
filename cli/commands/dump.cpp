#include "cli/verb.h"

namespace coppice::cli {

Verb dump_verb(CLI::App& program) {
  const Parser parser(
      program, {"dump", "Print the metadata, for people and bug reports", "coppice dump > metadata.txt"});
  return {parser, [](Context& context) {
            return context.answer(Request{.method = "dump"},
                                  [](const Json& document) { return document.value("text", ""); });
          }};
}

}  // namespace coppice::cli
