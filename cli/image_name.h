// Puts an image's name into what is told about it. Pure.
#pragma once

#include <string>

#include "coppice/result.h"

namespace coppice::cli {

enum class ImageSide : unsigned char { kSource, kTarget };

// Whoever copies an image knows only its descriptor, and begins with "the image"; the command knows the name.
Failure naming_image(Failure failure, const std::string& path, ImageSide side);

}  // namespace coppice::cli
