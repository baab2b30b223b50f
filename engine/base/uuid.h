// A store's identity, which every structure of it carries so that nothing foreign is taken for its own.
#pragma once

#include <array>
#include <compare>
#include <cstdint>
#include <string>

namespace coppice {

struct Uuid {
  std::array<std::uint8_t, 16> bytes{};
  auto operator<=>(const Uuid&) const = default;
  [[nodiscard]] bool is_nil() const { return *this == Uuid{}; }
};

Uuid random_uuid();
std::string to_text(const Uuid& uuid);  // 8-4-4-4-12
// The kernel's boot id: changes with every boot, nil if it can't be read.
Uuid boot_id();

}  // namespace coppice
