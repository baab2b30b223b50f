#include "cli/params.h"

#include "cli/time_text.h"

namespace coppice::cli {

Params::Params(const Json& object) : object_(object) {
  if (!object.is_object()) complain("the parameters are not an object: send {\"name\": value, …}");
}

const Json* Params::find(const char* key) {
  asked_.insert(key);
  if (!object_.is_object()) return nullptr;
  const auto found = object_.find(key);
  return found == object_.end() ? nullptr : &*found;
}

void Params::complain(std::string message) {
  if (!failure_) failure_ = Failure{ErrorKind::kInvalid, std::move(message)};
}

std::string Params::text(const char* key) {
  auto value = optional_text(key);
  if (!value) complain(std::string("parameter '") + key + "' is missing");
  return value.value_or("");
}

std::string Params::text_or(const char* key, std::string fallback) {
  auto value = optional_text(key);
  return value ? *value : std::move(fallback);
}

std::optional<std::string> Params::optional_text(const char* key) {
  const Json* value = find(key);
  if (value == nullptr) return std::nullopt;
  if (value->is_string()) return value->get<std::string>();
  complain(std::string("parameter '") + key + "' is not a text");
  return "";
}

std::uint64_t Params::number(const char* key) {
  if (find(key) == nullptr) complain(std::string("parameter '") + key + "' is missing");
  return number_or(key, 0);
}

std::uint64_t Params::number_or(const char* key, std::uint64_t fallback) {
  const Json* value = find(key);
  if (value == nullptr) return fallback;
  const bool whole = value->is_number_unsigned() || (value->is_number_integer() && *value >= 0);
  if (whole) return value->get<std::uint64_t>();
  complain(std::string("parameter '") + key + "' is not a whole number from 0 on");
  return fallback;
}

bool Params::flag(const char* key) {
  const Json* value = find(key);
  if (value == nullptr) return false;
  if (value->is_boolean()) return value->get<bool>();
  complain(std::string("parameter '") + key + "' is not true or false");
  return false;
}

bool Params::yes_or_no(const char* key) {
  if (find(key) == nullptr) complain(std::string("parameter '") + key + "' is missing");
  return flag(key);
}

std::int64_t Params::end_or_never(const char* key) {
  const Json* value = find(key);
  if (value == nullptr || value->is_null()) return 0;
  const auto time = value->is_string() ? parse_rfc3339(value->get<std::string>()) : std::nullopt;
  if (time && *time > now_unix_ms()) return *time;
  complain(std::string("parameter '") + key + (time ? "' has passed" : "' is no RFC 3339 time"));
  return 0;
}

Spec Params::parse(const std::string& value) {
  auto spec = parse_spec(value);
  if (spec) return *spec;
  complain(spec.error().message);
  return {};
}

Spec Params::spec(const char* key) {
  return parse(text(key));
}

std::vector<std::string> Params::texts(const char* key) {
  const Json* value = find(key);
  std::vector<std::string> all;
  if (value == nullptr || !value->is_array() || value->empty()) {
    complain(std::string("parameter '") + key + "' is not a list of names");
    return all;
  }
  for (const auto& entry : *value) {
    if (entry.is_string()) {
      all.push_back(entry.get<std::string>());
    } else {
      complain(std::string("parameter '") + key + "' holds something else than texts");
    }
  }
  return all;
}

std::vector<Spec> Params::specs(const char* key) {
  std::vector<Spec> all;
  for (const std::string& text : texts(key)) all.push_back(parse(text));
  return all;
}

std::vector<Selection> Params::selections(const char* key) {
  std::vector<Selection> all;
  for (const std::string& text : texts(key)) {
    auto selection = parse_selection(text);
    if (!selection) complain(selection.error().message);
    if (selection) all.push_back(std::move(*selection));
  }
  return all;
}

Outcome<> Params::finish() {
  if (object_.is_object()) {
    for (const auto& [key, value] : object_.items()) {
      if (!asked_.contains(key)) complain("parameter '" + key + "' is not known here");
    }
  }
  if (failure_) return std::unexpected(*failure_);
  return {};
}

Outcome<> need_disk(const std::string& name) {
  auto spec = parse_spec(name);
  if (!spec) return std::unexpected(spec.error());
  if (!spec->is_snapshot()) return {};
  return refuse(ErrorKind::kInvalid, name + " names a snapshot: give the name of a disk, without @");
}

Outcome<> need_snapshot(const Spec& spec, const char* verb) {
  if (spec.is_snapshot()) return {};
  return refuse(ErrorKind::kInvalid,
                spec.disk + " names no snapshot: " + verb + " takes " + spec.disk + "@SNAPSHOT");
}

Outcome<> all_of(std::initializer_list<Outcome<>> outcomes) {
  for (const auto& outcome : outcomes) {
    if (!outcome) return outcome;
  }
  return {};
}

}  // namespace coppice::cli
