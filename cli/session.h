// Session: a command's way to its store, whether a daemon holds it or not.
//
// The way is found with the first call and stays the same. Blocking; main thread.
#pragma once

#include <functional>
#include <optional>
#include <set>
#include <string>

#include "cli/control_client.h"
#include "cli/direct_store.h"
#include "cli/request.h"

namespace coppice::cli {

class Session {
 public:
  using Notice = std::function<void(const std::string&)>;
  // `mode` is how the store is opened where no daemon holds it.
  Session(std::string store, OpenMode mode, Notice notice)
      : store_(std::move(store)), mode_(mode), notice_(std::move(notice)) {}
  Session(const Session&) = delete;
  Session& operator=(const Session&) = delete;
  ~Session();

  Outcome<Json> call(const Request& request);
  // Lets go of the store. Once, after the last call.
  Outcome<> close();
  // Gives the user a notice that the command has not given yet.
  void tell_once(const std::string& text);

 private:
  Outcome<> reach();

  std::string store_;
  OpenMode mode_;
  Notice notice_;
  std::set<std::string> told_;
  std::optional<ControlClient> client_;
  std::optional<DirectStore> direct_;
};

// For commands that need a store to themselves: refuses one that a daemon serves, at once.
Outcome<> refuse_served(const std::string& store);

}  // namespace coppice::cli
