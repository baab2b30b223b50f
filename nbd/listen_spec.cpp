#include "nbd/listen_spec.h"

#include <algorithm>
#include <charconv>
#include <set>
#include <string_view>

namespace coppice::nbd {

namespace {

constexpr std::string_view kPassedScheme = "systemd:";

std::unexpected<Failure> refuse_listen(const std::string& text, const std::string& reason) {
  return refuse(ErrorKind::kInvalid, "cannot listen on '" + text + "': " + reason);
}

// One of the things behind the `?`.
struct Setting {
  std::string name;
  std::string value;
  bool has_value = false;
};

Outcome<> set_mode(ListenSpec& spec, const std::string& value) {
  unsigned mode = 0;
  const auto [end, error] = std::from_chars(value.data(), value.data() + value.size(), mode, 8);
  if (error != std::errc{} || end != value.data() + value.size() || mode > 0777)
    return refuse(ErrorKind::kInvalid,
                  "mode=" + value + ": a mode is up to 0777 in octal; 0660 is the usual one");
  spec.file.mode = mode;
  return {};
}

Outcome<> set_disks(ListenSpec& spec, std::string_view value) {
  while (true) {
    const auto comma = value.find(',');
    const std::string_view pattern = value.substr(0, comma);
    if (pattern.empty() || pattern.find_first_of("@/") != pattern.npos)
      return refuse(
          ErrorKind::kInvalid,
          "disks= takes names of disks or patterns like web*, separated by commas; snapshots come with them");
    spec.permissions.disks.emplace_back(pattern);
    if (comma == value.npos) return {};
    value.remove_prefix(comma + 1);
  }
}

Outcome<> set_mode_of_tls(ListenSpec& spec, const std::string& value) {
  if (value == "off") {
    spec.tls = TlsMode::kOff;
  } else if (value == "on") {
    spec.tls = TlsMode::kOn;
  } else if (value == "require") {
    spec.tls = TlsMode::kRequire;
  } else {
    return refuse(ErrorKind::kInvalid, "tls=" + value + ": it is off, on or require");
  }
  return {};
}

Outcome<> set_name(std::string& into, const Setting& setting) {
  if (setting.value.empty()) return refuse(ErrorKind::kInvalid, setting.name + "= needs a name or a number");
  into = setting.value;
  return {};
}

Outcome<> apply(ListenSpec& spec, const Setting& setting) {
  const bool has_file = !spec.passed && std::holds_alternative<UnixEndpoint>(spec.endpoint);
  const std::string& name = setting.name;
  if (name == "read-only") {
    if (setting.has_value)
      return refuse(ErrorKind::kInvalid, "read-only takes no value: leave it out to allow writes");
    spec.permissions.read_only = true;
    return {};
  }
  if (name == "disks") return set_disks(spec, setting.value);
  if (name == "tls") return set_mode_of_tls(spec, setting.value);
  if (name == "mode" || name == "owner" || name == "group") {
    if (!has_file) return refuse(ErrorKind::kInvalid, name + "= is for Unix sockets that coppice makes");
    if (name == "mode") return set_mode(spec, setting.value);
    return set_name(name == "owner" ? spec.file.owner : spec.file.group, setting);
  }
  return refuse(
      ErrorKind::kInvalid,
      "'" + name + "' is no setting of a listener; there are disks, read-only, tls, mode, owner and group");
}

Outcome<> apply_all(ListenSpec& spec, std::string_view query) {
  std::set<std::string> seen;
  while (!query.empty()) {
    const std::string_view part = query.substr(0, query.find('&'));
    query.remove_prefix(std::min(query.size(), part.size() + 1));
    const auto equals = part.find('=');
    Setting setting{
        .name = std::string(part.substr(0, equals)), .value = {}, .has_value = equals != part.npos};
    if (setting.name == "socket") continue;  // of the endpoint
    auto value = percent_decoded(setting.has_value ? part.substr(equals + 1) : std::string_view());
    if (!value)
      return refuse(ErrorKind::kInvalid,
                    setting.name + "= has a % that is not before two hexadecimal digits");
    setting.value = std::move(*value);
    if (!seen.insert(setting.name).second)
      return refuse(ErrorKind::kInvalid, setting.name + " is given twice");
    if (auto done = apply(spec, setting); !done) return done;
  }
  return {};
}

// The part of the query that belongs to the endpoint.
std::string socket_part(std::string_view query) {
  while (!query.empty()) {
    const std::string_view part = query.substr(0, query.find('&'));
    if (part.starts_with("socket=")) return "?" + std::string(part);
    query.remove_prefix(std::min(query.size(), part.size() + 1));
  }
  return "";
}

Outcome<ListenSpec> passed_spec(std::string_view place) {
  ListenSpec spec;
  spec.passed = true;
  spec.passed_name = place.substr(kPassedScheme.size());
  return spec;
}

Outcome<ListenSpec> placed_spec(const std::string& endpoint_text) {
  auto endpoint = parse_endpoint(endpoint_text);
  if (!endpoint) return std::unexpected(endpoint.error());
  ListenSpec spec;
  spec.endpoint = std::move(*endpoint);
  return spec;
}

}  // namespace

Outcome<ListenSpec> parse_listen(const std::string& text) {
  const bool passed = text.starts_with(kPassedScheme);
  // The path of a socket may hold anything; a URI says what is what.
  if (!passed && text.find("://") == text.npos) return placed_spec(text);
  const auto mark = std::min(text.find('?'), text.size());
  const std::string_view query = std::string_view(text).substr(std::min(mark + 1, text.size()));
  const std::string place = text.substr(0, mark);
  auto spec = passed ? passed_spec(place) : placed_spec(place + socket_part(query));
  if (!spec) return spec;
  if (auto applied = apply_all(*spec, query); !applied) return refuse_listen(text, applied.error().message);
  if (!uses_tls(spec->endpoint)) return spec;
  if (spec->tls && *spec->tls != TlsMode::kRequire)
    return refuse_listen(text, "nbds:// is TLS, required; write nbd:// with tls=on or tls=off");
  spec->tls = TlsMode::kRequire;
  return spec;
}

}  // namespace coppice::nbd
