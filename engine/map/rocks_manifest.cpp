#include "map/rocks_manifest.h"

#include <charconv>
#include <filesystem>
#include <fstream>
#include <utility>
#include <vector>

namespace coppice {

namespace {

std::pair<std::string, std::uint64_t> parts_of(const std::string& text) {
  const std::size_t gap = text.find(' ');
  std::uint64_t length = 0;
  if (gap != std::string::npos) std::from_chars(text.data() + gap + 1, text.data() + text.size(), length);
  return {text.substr(0, gap), length};
}

}  // namespace

std::string manifest_in_use(rocksdb::DB& db) {
  std::vector<std::string> files;
  std::uint64_t length = 0;
  if (!db.GetLiveFiles(files, &length, false).ok()) return {};
  for (const std::string& file : files) {
    if (file.starts_with("/MANIFEST")) return file.substr(1) + " " + std::to_string(length);
  }
  return {};
}

std::string manifest_on_disk(const std::string& directory) {
  std::ifstream current(directory + "/CURRENT");
  std::string name;
  if (!std::getline(current, name)) return {};
  std::error_code error;
  const auto length = std::filesystem::file_size(std::filesystem::path(directory) / name, error);
  return error ? std::string() : name + " " + std::to_string(length);
}

ManifestAge compare_manifests(const std::string& remembered, const std::string& on_disk) {
  const auto [old_name, old_length] = parts_of(remembered);
  const auto [name, length] = parts_of(on_disk);
  if (old_name.empty() || name != old_name) return ManifestAge::kOther;
  return length < old_length ? ManifestAge::kCut : ManifestAge::kWhole;
}

}  // namespace coppice
