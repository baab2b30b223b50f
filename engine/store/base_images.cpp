#include "store/base_images.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <linux/fs.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <optional>

#include "base/hash.h"
#include "image/qcow2_file.h"

namespace coppice {

namespace {

constexpr std::uint64_t kSampledEndBytes = std::uint64_t{1} << 20;
constexpr std::uint64_t kSampledBlocks = 64;

class Descriptor {
 public:
  explicit Descriptor(const std::string& path)
      : number_(::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK)) {}
  ~Descriptor() {
    if (number_ >= 0) close(number_);
  }
  Descriptor(const Descriptor&) = delete;
  Descriptor& operator=(const Descriptor&) = delete;
  [[nodiscard]] int get() const { return number_; }

 private:
  int number_;
};

std::int64_t change_time(const struct stat& status) {
  return std::int64_t{status.st_mtim.tv_sec} * 1'000'000'000 + status.st_mtim.tv_nsec;
}

struct Outline {
  BaseValue value;  // all but the samples
  std::uint64_t file_bytes = 0;
};

// Of the file as it is; the size is the file's.
std::optional<Outline> outline_of(int descriptor, std::string path) {
  struct stat status{};
  if (fstat(descriptor, &status) != 0) return std::nullopt;
  Outline outline;
  BaseValue& value = outline.value;
  value.path = std::move(path);
  value.is_device = S_ISBLK(status.st_mode);
  outline.file_bytes = static_cast<std::uint64_t>(status.st_size);
  if (value.is_device) {
    if (ioctl(descriptor, BLKGETSIZE64, &outline.file_bytes) != 0) return std::nullopt;
  } else {
    if (!S_ISREG(status.st_mode)) return std::nullopt;
    value.inode = status.st_ino;
    value.changed_ns = change_time(status);
  }
  value.size_bytes = outline.file_bytes;
  return outline;
}

bool read_whole(int descriptor, std::uint64_t offset, std::span<std::byte> into) {
  while (!into.empty()) {
    const ssize_t got = pread(descriptor, into.data(), into.size(), static_cast<off_t>(offset));
    if (got < 0 && errno == EINTR) continue;
    if (got <= 0) return false;
    into = into.subspan(static_cast<std::size_t>(got));
    offset += static_cast<std::uint64_t>(got);
  }
  return true;
}

ReadAt reader_of(int descriptor) {
  return [descriptor](std::uint64_t offset, std::span<std::byte> into) {
    return read_whole(descriptor, offset, into);
  };
}

// The size of the disk in it takes the place of the file's.
Outcome<> read_format(int descriptor, BaseFormat format, Outline& outline) {
  outline.value.format = format;
  if (format == BaseFormat::kRaw) return {};
  auto header = read_qcow2_header(reader_of(descriptor), outline.file_bytes);
  if (!header) return std::unexpected(header.error());
  outline.value.size_bytes = header->size_bytes;
  return {};
}

// Of the first and the last MiB, and of 64 blocks between them at equal distances.
std::optional<std::uint64_t> sample(int descriptor, std::uint64_t size_bytes) {
  std::vector<std::byte> buffer(std::min(size_bytes, kSampledEndBytes));
  std::uint64_t hash = size_bytes;
  for (const std::uint64_t offset : {std::uint64_t{0}, size_bytes - buffer.size()}) {
    if (!read_whole(descriptor, offset, buffer)) return std::nullopt;
    hash = hash64(buffer, hash);
  }
  const std::uint64_t blocks = size_bytes / kBlockBytes;
  for (std::uint64_t i = 0; i < kSampledBlocks && blocks != 0; ++i) {
    const std::uint64_t block = blocks / kSampledBlocks * i + blocks % kSampledBlocks * i / kSampledBlocks;
    const auto into = std::span(buffer).first(kBlockBytes);
    if (!read_whole(descriptor, block * kBlockBytes, into)) return std::nullopt;
    hash = hash64(into, hash);
  }
  return hash;
}

std::string open_problem(int error) {
  if (error == ENOENT) return "is not there";
  return std::string("can't be read (") + std::strerror(error) + ")";
}

class FileImages final : public BaseImages {
 public:
  explicit FileImages(Reactor& reactor) : reactor_(reactor) {}
  Outcome<BaseValue> identify(const BaseSource& source) override;
  BasePointer open(const BaseValue& value) override;

 private:
  Outcome<std::unique_ptr<BlockFile>> open_as(const BaseValue& value, std::uint64_t file_bytes);
  Reactor& reactor_;
};

bool same_file(int a, int b) {
  struct stat left{};
  struct stat right{};
  if (fstat(a, &left) != 0 || fstat(b, &right) != 0) return false;
  if (S_ISBLK(left.st_mode) && S_ISBLK(right.st_mode)) return left.st_rdev == right.st_rdev;
  return left.st_dev == right.st_dev && left.st_ino == right.st_ino;
}

Outcome<BaseValue> FileImages::identify(const BaseSource& source) {
  const Descriptor file(source.path);
  if (file.get() < 0) {
    return refuse(errno == ENOENT ? ErrorKind::kNotFound : ErrorKind::kIo,
                  fmt::format("base {}: {}: it is read by whoever has the store open, so give that user the "
                              "right to read it",
                              source.path, std::strerror(errno)));
  }
  if (source.descriptor >= 0 && !same_file(file.get(), source.descriptor)) {
    return refuse(ErrorKind::kInvalid,
                  fmt::format("base {}: the daemon finds another file there than you: name it by a path that "
                              "is the same for both",
                              source.path));
  }
  auto outline = outline_of(file.get(), source.path);
  if (!outline || outline->file_bytes == 0) {
    return refuse(ErrorKind::kInvalid, fmt::format("base {}: {}: a base is an image, in a file or on a block "
                                                   "device",
                                                   source.path, outline ? "it is empty" : "it is neither"));
  }
  const auto read = read_format(file.get(), source.format, *outline);
  if (!read) return refuse(read.error().kind, fmt::format("base {}: {}", source.path, read.error().message));
  BaseValue* const value = &outline->value;
  const auto samples = sample(file.get(), outline->file_bytes);
  if (!samples) {
    return refuse(ErrorKind::kIo,
                  fmt::format("base {}: it can't be read to its end: {}", source.path, std::strerror(errno)));
  }
  value->samples = *samples;
  return *value;
}

// What is wrong with the file that is there; empty: it is the same.
std::string difference(const BaseValue& value, const Outline& outline, int descriptor, bool& may_be_same) {
  const BaseValue& found = outline.value;
  if (found.size_bytes != value.size_bytes)
    return fmt::format("has {} bytes now, not {}", found.size_bytes, value.size_bytes);
  const bool same_time = !value.is_device && !found.is_device && found.changed_ns == value.changed_ns;
  if (same_time && found.inode == value.inode) return {};
  const auto samples = sample(descriptor, outline.file_bytes);
  if (!samples) return "can't be read to its end";
  if (*samples != value.samples) return "has another content now";
  if (same_time || (value.is_device && found.is_device)) return {};
  may_be_same = true;
  return "was written or copied since";
}

// Reads it as its format says.
Outcome<std::unique_ptr<BlockFile>> FileImages::open_as(const BaseValue& value, std::uint64_t file_bytes) {
  auto opened = open_block_file(reactor_, value.path, {.read_only = true, .direct = false});
  if (!opened) return refuse(ErrorKind::kIo, open_problem(opened.error().errno_value));
  if (value.format == BaseFormat::kRaw) return std::move(*opened);
  const auto file = std::make_shared<Descriptor>(value.path);
  const ReadAt read = [file](std::uint64_t offset, std::span<std::byte> into) {
    return read_whole(file->get(), offset, into);
  };
  auto image = open_qcow2(std::move(*opened), read, file_bytes);
  if (!image) return refuse(image.error().kind, "can't be read: " + image.error().message);
  return image;
}

BasePointer FileImages::open(const BaseValue& value) {
  auto base = std::make_shared<Base>();
  base->size_bytes = value.size_bytes;
  const Descriptor file(value.path);
  if (file.get() < 0) {
    base->problem = open_problem(errno);
    return base;
  }
  auto found = outline_of(file.get(), value.path);
  if (!found) {
    base->problem = "is neither a file nor a block device";
    return base;
  }
  const auto read = read_format(file.get(), value.format, *found);
  base->problem = read ? difference(value, *found, file.get(), base->may_be_same)
                       : "can't be read: " + read.error().message;
  if (!base->problem.empty()) return base;
  auto opened = open_as(value, found->file_bytes);
  if (!opened) {
    base->problem = opened.error().message;
    return base;
  }
  base->file = std::move(*opened);
  base->was_written = [path = value.path, before = *found] {
    struct stat status{};
    if (before.value.is_device || stat(path.c_str(), &status) != 0 || status.st_ino != before.value.inode)
      return false;
    return change_time(status) != before.value.changed_ns ||
           static_cast<std::uint64_t>(status.st_size) != before.file_bytes;
  };
  return base;
}

}  // namespace

std::shared_ptr<BaseImages> make_base_images(Reactor& reactor) {
  return std::make_shared<FileImages>(reactor);
}

}  // namespace coppice
