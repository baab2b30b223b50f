// A folder of a test's own, on a file system with O_DIRECT, removed at the end.
#pragma once

#include <cstdlib>
#include <filesystem>
#include <string>

namespace coppice::test {

class Scratch {
 public:
  Scratch() {
    std::string name = (std::filesystem::current_path() / "scratch.XXXXXX").string();
    if (mkdtemp(name.data()) == nullptr) std::abort();
    path_ = name;
  }
  ~Scratch() { std::filesystem::remove_all(path_); }
  Scratch(const Scratch&) = delete;
  Scratch& operator=(const Scratch&) = delete;
  [[nodiscard]] std::string file(const std::string& name) const { return (path_ / name).string(); }
  [[nodiscard]] const std::filesystem::path& path() const { return path_; }

 private:
  std::filesystem::path path_;
};

}  // namespace coppice::test
