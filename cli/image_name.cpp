#include "cli/image_name.h"

#include <string_view>

namespace coppice::cli {

Failure naming_image(Failure failure, const std::string& path, ImageSide side) {
  constexpr std::string_view kUnnamed = "the image";
  if (!failure.message.starts_with(kUnnamed)) return failure;
  std::string name = "image " + path;
  if (path == "-") name = side == ImageSide::kSource ? "standard input" : "standard output";
  failure.message.replace(0, kUnnamed.size(), name);
  return failure;
}

}  // namespace coppice::cli
