// Params: what a request asks, taken out by name and type.
//
// The first thing that is wrong is kept, and finish() tells it: a missing key, a wrong type, and any key that
// nobody asked for, as a misspelled one must not be ignored. Pure.
#pragma once

#include <initializer_list>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "cli/node_json.h"
#include "cli/selection.h"
#include "coppice/result.h"
#include "coppice/store.h"

namespace coppice::cli {

class Params {
 public:
  explicit Params(const Json& object);

  std::string text(const char* key);
  std::string text_or(const char* key, std::string fallback);
  std::optional<std::string> optional_text(const char* key);
  std::uint64_t number(const char* key);
  std::uint64_t number_or(const char* key, std::uint64_t fallback);
  bool flag(const char* key);  // false when absent
  bool yes_or_no(const char* key);
  // A time to come, as RFC 3339; 0 where it is absent or null.
  std::int64_t end_or_never(const char* key);
  Spec spec(const char* key);
  std::vector<Spec> specs(const char* key);
  std::vector<Selection> selections(const char* key);

  [[nodiscard]] Outcome<> finish();

 private:
  const Json* find(const char* key);
  void complain(std::string message);
  Spec parse(const std::string& value);
  std::vector<std::string> texts(const char* key);

  const Json& object_;
  std::set<std::string> asked_;
  std::optional<Failure> failure_;
};

// Refuses the name of a snapshot where a disk is meant.
Outcome<> need_disk(const std::string& name);
// … and of a disk where a snapshot is meant.
Outcome<> need_snapshot(const Spec& spec, const char* verb);
// Stops at the first that is wrong.
Outcome<> all_of(std::initializer_list<Outcome<>> outcomes);

}  // namespace coppice::cli
