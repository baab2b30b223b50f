// What a command asks for, whoever will carry it out.
#pragma once

#include <cstdint>
#include <functional>
#include <string>

#include "cli/node_json.h"

namespace coppice::cli {

enum class Direction : std::uint8_t { kNone, kIn, kOut };

struct Request {
  std::string method;
  Json params = Json::object();
  // An image that the command has opened, and stays the owner of.
  int file = -1;
  // Set if `file` is the command's own stream ("-") rather than a file.
  Direction stream = Direction::kNone;
  // Called now and then while an image is copied. May be empty.
  std::function<void(std::uint64_t done_bytes, std::uint64_t total_bytes)> progress = {};
};

}  // namespace coppice::cli
