#include "cli/store_directory.h"

#include <unistd.h>

#include <cstdlib>
#include <filesystem>

namespace coppice::cli {

std::string absolute_path(const std::string& path) {
  std::error_code error;
  auto absolute = std::filesystem::absolute(path, error).lexically_normal();
  if (error) return path;
  if (!absolute.has_filename() && absolute.has_relative_path()) absolute = absolute.parent_path();
  return absolute.string();
}

Outcome<std::string> store_directory(const std::string& given) {
  if (!given.empty()) return absolute_path(given);
  const char* from_environment = std::getenv("COPPICE_STORE");
  if (from_environment != nullptr && *from_environment != '\0') return absolute_path(from_environment);
  if (geteuid() == 0) return "/var/lib/coppice";
  const char* home = std::getenv("HOME");
  if (home != nullptr && *home != '\0') return absolute_path(std::string(home) + "/.local/share/coppice");
  return refuse(ErrorKind::kInvalid, "which store? HOME is not set: give --store DIR or set COPPICE_STORE");
}

std::string default_nbd_socket(const std::string& store) {
  return store + "/nbd.sock";
}

}  // namespace coppice::cli
