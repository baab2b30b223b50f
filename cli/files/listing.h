// How volumes, files and changes of files are told.
#pragma once

#include <string>
#include <vector>

#include "cli/context.h"
#include "cli/files/compare_trees.h"
#include "cli/files/volumes.h"
#include "cli/node_json.h"

namespace coppice::cli {

Json volumes_json(const std::vector<Volume>& volumes);
std::string render_volumes(const Json& volumes);

// Of a folder what is in it, of all else itself.
Outcome<Json> list_files(int root, const std::string& path);
std::string render_files(const Json& files);

// Lines as they come; with --json a list at the end.
class FileChanges {
 public:
  explicit FileChanges(Context& context) : context_(context) {}
  void add(const std::string& path, Difference what);
  void finish();

 private:
  Context& context_;
  Json list_ = Json::array();
};

}  // namespace coppice::cli
