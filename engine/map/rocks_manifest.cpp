#include "map/rocks_manifest.h"

#include <fstream>
#include <sstream>
#include <vector>

#include "base/hash.h"

namespace coppice {

namespace {

constexpr std::uint64_t kHashSeed = 0x74736566696e616d;  // "manifest"

// The first `length` bytes of a manifest in words; empty where it has fewer.
std::string describe(const std::string& directory, const std::string& name, std::uint64_t length) {
  std::vector<std::byte> bytes(length);
  std::ifstream file(directory + "/" + name, std::ios::binary);
  file.read(reinterpret_cast<char*>(bytes.data()), static_cast<std::streamsize>(length));
  if (!file || static_cast<std::uint64_t>(file.gcount()) != length) return {};
  return name + " " + std::to_string(length) + " " + std::to_string(hash64(bytes, kHashSeed));
}

}  // namespace

std::string manifest_in_use(rocksdb::DB& db) {
  std::vector<std::string> files;
  std::uint64_t length = 0;
  if (!db.GetLiveFiles(files, &length, false).ok()) return {};
  for (const std::string& file : files) {
    if (file.starts_with("/MANIFEST")) return describe(db.GetName(), file.substr(1), length);
  }
  return {};
}

ManifestAge judge_manifest(const std::string& directory, const std::string& remembered) {
  std::istringstream words(remembered);
  std::string old_name;
  std::uint64_t length = 0;
  std::ifstream current(directory + "/CURRENT");
  std::string name;
  if (!(words >> old_name >> length) || !std::getline(current, name) || name != old_name)
    return ManifestAge::kOther;
  return describe(directory, name, length) == remembered ? ManifestAge::kWhole : ManifestAge::kDamaged;
}

}  // namespace coppice
