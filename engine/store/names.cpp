#include <algorithm>
#include <cstdio>

#include "coppice/store.h"

namespace coppice {
namespace {

constexpr std::size_t kMaxNameBytes = 255;
constexpr std::size_t kShownBytes = 64;

bool is_name_byte(char byte) {
  return (byte >= 'a' && byte <= 'z') || (byte >= 'A' && byte <= 'Z') || (byte >= '0' && byte <= '9') ||
         byte == '.' || byte == '_' || byte == ':' || byte == '-';
}

// A refused name comes from outside: it must not move the cursor of whoever reads the message.
std::string shown(const std::string& name) {
  std::string text = "'";
  for (char byte : name.substr(0, kShownBytes)) {
    const auto code = static_cast<unsigned char>(byte);
    if (code >= 0x20 && code < 0x7f) {
      text += byte;
    } else {
      char escaped[5];
      std::snprintf(escaped, sizeof escaped, "\\x%02x", code);
      text += escaped;
    }
  }
  return text + (name.size() > kShownBytes ? "…'" : "'");
}

}  // namespace

Outcome<> check_name(const std::string& name) {
  if (name.empty()) return refuse(ErrorKind::kInvalid, "an empty name: give 1 to 255 of A-Z a-z 0-9 . _ : -");
  if (name.size() > kMaxNameBytes) {
    return refuse(ErrorKind::kInvalid,
                  "name " + shown(name) + " has " + std::to_string(name.size()) + " bytes: use at most 255");
  }
  if (name.front() == '-' || name.front() == '.') {
    return refuse(ErrorKind::kInvalid,
                  "name " + shown(name) + " starts with " + name.front() + ": start with another character");
  }
  if (!std::ranges::all_of(name, is_name_byte)) {
    return refuse(ErrorKind::kInvalid,
                  "name " + shown(name) + " holds other characters than A-Z a-z 0-9 . _ : -: leave them out");
  }
  return {};
}

Outcome<Spec> parse_spec(const std::string& text) {
  const auto at = text.find('@');
  Spec spec{.disk = text.substr(0, at), .snapshot = {}};
  auto disk = check_name(spec.disk);
  if (!disk) return std::unexpected(disk.error());
  if (at == std::string::npos) return spec;
  spec.snapshot = text.substr(at + 1);
  if (spec.snapshot.empty()) {
    return refuse(ErrorKind::kInvalid,
                  shown(text) + " names no snapshot: write " + spec.disk + " or " + spec.disk + "@SNAPSHOT");
  }
  auto snapshot = check_name(spec.snapshot);
  if (!snapshot) return std::unexpected(snapshot.error());
  return spec;
}

}  // namespace coppice
