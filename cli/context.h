// Context: what every verb is given when it runs.
#pragma once

#include <ostream>
#include <string>

#include "cli/node_json.h"
#include "cli/session.h"
#include "cli/table.h"

namespace coppice::cli {

// What a command answers with, in scripts' terms. An error is kError with one line on stderr.
enum ExitCode : int { kYes = 0, kNo = 1, kError = 2 };

struct Context {
  std::string store;
  bool json = false;
  OpenMode mode = OpenMode::kReadWrite;
  Session& session;
  std::ostream& out;
  std::ostream& err;

  // What a person should know beside the answer. Scripts that ask for JSON are spared.
  void warn(const std::string& text) {
    if (!json && !text.empty()) err << "coppice: " << printable(text) << "\n";
  }
  // A verb whose answer is one document: prints it as JSON, or as `text` of it.
  template <class Render>
  Outcome<int> answer(const Request& request, Render text) {
    auto document = session.call(request);
    if (!document) return std::unexpected(document.error());
    print(*document, text);
    return kYes;
  }
  template <class Render>
  void print(const Json& document, Render text) {
    if (json) {
      out << document.dump(2, ' ', false, Json::error_handler_t::replace) << "\n";
    } else {
      out << text(document);
    }
  }
};

}  // namespace coppice::cli
