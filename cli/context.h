// Context: what every verb is given when it runs.
#pragma once

#include <ostream>
#include <string>

#include "cli/fullness.h"
#include "cli/node_json.h"
#include "cli/session.h"
#include "cli/table.h"

namespace coppice::cli {

// What a command answers with, in scripts' terms. An error is kError with one line on stderr.
// kFullCopy: a diff can't be told.
enum ExitCode : int { kYes = 0, kNo = 1, kError = 2, kFullCopy = 3 };

struct Context {
  std::string store;
  bool store_given = false;  // on the command line
  bool json = false;
  OpenMode mode = OpenMode::kReadWrite;
  Session& session;
  std::ostream& out;
  std::ostream& err;

  // What a person should know beside the answer. Scripts that ask for JSON are spared.
  void warn(const std::string& text) {
    if (!json && !text.empty()) err << "coppice: " << printable(text) << "\n";
  }
  // … of the pool, where it is getting full.
  void warn_low_space() {
    if (json) return;
    auto fullness = session.call(Request{.method = "fullness"});
    if (fullness) warn(low_space_text(*fullness));
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
