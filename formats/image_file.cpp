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
  if (S_ISDIR(status.st_mode)) return image_failure(EISDIR, "reading");
  if (as_stream) return ImageFile{descriptor, ImageKind::kStream, 0};
  if (S_ISREG(status.st_mode)) {
    return ImageFile{descriptor, ImageKind::kFile, static_cast<std::uint64_t>(status.st_size)};
  }
  if (!S_ISBLK(status.st_mode)) return ImageFile{descriptor, ImageKind::kStream, 0};
  const off_t end = lseek(descriptor, 0, SEEK_END);
  if (end < 0) return image_failure(errno, "asking for its size");
  return ImageFile{descriptor, ImageKind::kBlockDevice, static_cast<std::uint64_t>(end)};
}

const char* foreign_format(std::string_view head) {
  struct Magic {
    std::string_view bytes;
    const char* name;
    std::size_t offset = 0;
  };
  static constexpr Magic kMagics[] = {{"QFI\xfb", "qcow2"},
                                      {"KDMV", "vmdk"},
                                      {"COWD", "vmdk"},
                                      {"# Disk Desc", "vmdk"},
                                      {"vhdxfile", "vhdx"},
                                      {"conectix", "vhd"},
                                      {"QED", "qed"},
                                      {"\x7f\x10\xda\xbe", "vdi", 64},
                                      {"\x1f\x8b\x08", "gzip"},
                                      {"\xfd"
                                       "7zXZ",
                                       "xz"},
                                      {"\x28\xb5\x2f\xfd", "zstd"},
                                      {"BZh", "bzip2"}};
  for (const auto& magic : kMagics) {
    if (head.size() >= magic.offset && head.substr(magic.offset).starts_with(magic.bytes)) return magic.name;
  }
  return nullptr;
}

Outcome<> refuse_foreign(std::string_view head) {
  const char* format = foreign_format(head);
  if (format == nullptr) return {};
  return refuse(ErrorKind::kUnsupported,
                std::string("the image looks like ") + format +
                    ", and only raw is read: convert it first (qemu-img convert -O raw; unpack what is "
                    "packed), or say --format raw if it is");
}

}  // namespace coppice::formats
