#include "formats/image_file.h"

#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <string_view>

#include "formats/descriptor_io.h"

namespace coppice::formats {

Outcome<ImageFile> examine(int descriptor, bool as_stream) {
  struct stat status{};
  if (fstat(descriptor, &status) != 0) return image_failure(errno, "asking what it is");
  if (S_ISDIR(status.st_mode)) return image_failure(EISDIR, "asking for its size");
  if (as_stream) return ImageFile{descriptor, ImageKind::kStream, 0};
  if (S_ISREG(status.st_mode)) {
    return ImageFile{descriptor, ImageKind::kFile, static_cast<std::uint64_t>(status.st_size)};
  }
  if (!S_ISBLK(status.st_mode)) return ImageFile{descriptor, ImageKind::kStream, 0};
  const off_t end = lseek(descriptor, 0, SEEK_END);
  if (end < 0) return image_failure(errno, "asking for its size");
  return ImageFile{descriptor, ImageKind::kBlockDevice, static_cast<std::uint64_t>(end)};
}

const char* foreign_format(const char* head, std::size_t bytes) {
  struct Magic {
    std::string_view bytes;
    const char* name;
  };
  static constexpr Magic kMagics[] = {{"QFI\xfb", "qcow2"},    {"KDMV", "vmdk"},     {"COWD", "vmdk"},
                                      {"# Disk Desc", "vmdk"}, {"vhdxfile", "vhdx"}, {"conectix", "vhd"}};
  const std::string_view start(head, bytes);
  for (const auto& magic : kMagics) {
    if (start.starts_with(magic.bytes)) return magic.name;
  }
  return nullptr;
}

}  // namespace coppice::formats
