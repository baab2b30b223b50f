#include "cli/verb.h"

namespace coppice::cli {

Verb metrics_verb(CLI::App& program) {
  const Parser parser(program,
                      {"metrics",
                       "Print what the store is like now, as Prometheus reads it: pools, disks, space on "
                       "its way back",
                       "coppice metrics > /var/lib/prometheus/node-exporter/coppice.prom"});
  return {parser, [](Context& context) {
            return context.answer(Request{.method = "metrics"},
                                  [](const Json& document) { return document.value("text", ""); });
          }};
}

}  // namespace coppice::cli
