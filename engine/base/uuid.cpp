#include "base/uuid.h"

#include <uuid.h>

#include <algorithm>
#include <fstream>

namespace coppice {

Uuid random_uuid() {
  uuid_t raw;
  uuid_generate_random(raw);
  Uuid uuid;
  std::ranges::copy(raw, uuid.bytes.begin());
  return uuid;
}

std::string to_text(const Uuid& uuid) {
  static_assert(sizeof(uuid_t) == sizeof uuid.bytes);
  char text[UUID_STR_LEN];
  uuid_unparse_lower(uuid.bytes.data(), text);
  return text;
}

Uuid boot_id() {
  std::ifstream file("/proc/sys/kernel/random/boot_id");
  std::string text;
  uuid_t raw;
  if (!std::getline(file, text) || uuid_parse(text.c_str(), raw) != 0) return {};
  Uuid uuid;
  std::ranges::copy(raw, uuid.bytes.begin());
  return uuid;
}

}  // namespace coppice
