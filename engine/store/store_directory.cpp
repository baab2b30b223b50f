#include "store/store_directory.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>

namespace coppice {

namespace {

constexpr int kFormat = 1;

std::string file_of(const std::string& path) {
  return path + "/store.json";
}

Outcome<Uuid> parse_uuid(const std::string& text) {
  Uuid uuid;
  std::size_t digits = 0;
  for (const char each : text) {
    if (each == '-') continue;
    const bool digit = each >= '0' && each <= '9';
    if ((!digit && (each < 'a' || each > 'f')) || digits == 32)
      return refuse(ErrorKind::kCorrupt, "bad uuid");
    const int value = digit ? each - '0' : each - 'a' + 10;
    std::uint8_t& byte = uuid.bytes[digits / 2];
    byte = static_cast<std::uint8_t>(byte << 4 | value);
    ++digits;
  }
  if (digits != 32) return refuse(ErrorKind::kCorrupt, "bad uuid");
  return uuid;
}

Outcome<> sync_path(const std::string& path) {
  const int descriptor = open(path.c_str(), O_RDONLY | O_CLOEXEC);
  const bool synced = descriptor >= 0 && fsync(descriptor) == 0;
  const int error = errno;
  if (descriptor >= 0) close(descriptor);
  if (!synced)
    return refuse(ErrorKind::kIo, fmt::format("{}: can't be synced: {}", path, std::strerror(error)));
  return {};
}

}  // namespace

std::string map_remedy(bool pool_has_copy) {
  if (!pool_has_copy) return "restore the store from a backup";
  return "run 'coppice check --repair', which makes the map anew from its copy in the pool";
}

bool store_exists(const std::string& path) {
  std::error_code ignored;
  return std::filesystem::exists(file_of(path), ignored);
}

Outcome<StoreDirectory> read_store_directory(const std::string& path) {
  std::ifstream file(file_of(path));
  if (!file) {
    const int error = errno;
    if (error == EACCES || error == EPERM) {
      return refuse(ErrorKind::kReadOnly, fmt::format("store {}: permission denied", path));
    }
    std::error_code ignored;
    if (std::filesystem::exists(path + "/map", ignored)) {
      return refuse(
          ErrorKind::kCorrupt,
          fmt::format("{} is missing: restore it, or make it anew with the pools' paths", file_of(path)));
    }
    return refuse(ErrorKind::kNotFound,
                  fmt::format("no store at {}: make one with 'coppice --store {} init'", path, path));
  }
  const auto json = nlohmann::json::parse(file, nullptr, false);
  const std::string damaged =
      fmt::format("{} is damaged: restore it, or make it anew with the pools' paths", file_of(path));
  if (json.is_discarded() || !json.is_object() || !json.contains("format") ||
      !json["format"].is_number_integer()) {
    return refuse(ErrorKind::kCorrupt, damaged);
  }
  if (json["format"] != kFormat) {
    return refuse(ErrorKind::kUnsupported,
                  fmt::format("store {} has format {}, this coppice reads {}: use a newer coppice", path,
                              json["format"].dump(), kFormat));
  }
  if (!json.contains("store") || !json["store"].is_string() || !json.contains("pools") ||
      !json["pools"].is_array() || json["pools"].empty()) {
    return refuse(ErrorKind::kCorrupt, damaged);
  }
  auto uuid = parse_uuid(json["store"].get<std::string>());
  if (!uuid) return refuse(ErrorKind::kCorrupt, damaged);
  StoreDirectory directory{path, *uuid, {}};
  for (const auto& pool : json["pools"]) {
    if (!pool.is_string()) return refuse(ErrorKind::kCorrupt, damaged);
    std::filesystem::path where = pool.get<std::string>();
    if (where.is_relative()) where = std::filesystem::path(path) / where;
    directory.pools.push_back(where.string());
  }
  return directory;
}

Outcome<> write_store_directory(const StoreDirectory& directory) {
  nlohmann::json json{{"format", kFormat}, {"store", to_text(directory.store)}, {"pools", directory.pools}};
  const std::string path = file_of(directory.path);
  const std::string temporary = path + ".new";
  {
    std::ofstream file(temporary, std::ios::trunc);
    file << json.dump(2) << '\n';
    file.flush();
    if (!file) return refuse(ErrorKind::kIo, fmt::format("{}: can't be written", temporary));
  }
  auto synced = sync_path(temporary);
  if (!synced) return synced;
  if (rename(temporary.c_str(), path.c_str()) != 0) {
    return refuse(ErrorKind::kIo, fmt::format("{}: {}", path, std::strerror(errno)));
  }
  return sync_path(directory.path);
}

}  // namespace coppice
