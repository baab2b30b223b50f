#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>

#include "journal/staging.h"

namespace coppice {

namespace {

class MappedStaging final : public StagingMemory {
 public:
  explicit MappedStaging(std::span<std::byte> bytes) : bytes_(bytes) {}
  ~MappedStaging() override { munmap(bytes_.data(), bytes_.size()); }
  std::span<std::byte> bytes() override { return bytes_; }

 private:
  std::span<std::byte> bytes_;
};

class PlainStaging final : public StagingMemory {
 public:
  explicit PlainStaging(std::uint64_t size) : memory_(size) {}
  std::span<std::byte> bytes() override { return memory_; }

 private:
  std::vector<std::byte> memory_;
};

// Writes zeroes over what is missing, so that every page of the mapping has its block.
Result<> fill(int descriptor, std::uint64_t size_bytes) {
  struct stat status{};
  if (fstat(descriptor, &status) != 0)
    return fail(ErrorKind::kIo, errno, "the staging file can't be examined");
  if (static_cast<std::uint64_t>(status.st_size) == size_bytes) return {};
  if (ftruncate(descriptor, 0) != 0)
    return fail(ErrorKind::kIo, errno, "the staging file can't be made anew");
  const std::vector<std::byte> zeroes(std::size_t{1} << 20);
  for (std::uint64_t done = 0; done < size_bytes;) {
    const std::uint64_t piece = std::min<std::uint64_t>(zeroes.size(), size_bytes - done);
    const ssize_t written = pwrite(descriptor, zeroes.data(), piece, static_cast<off_t>(done));
    if (written <= 0) {
      const int error = written < 0 ? errno : ENOSPC;
      return fail(error == ENOSPC ? ErrorKind::kNoSpace : ErrorKind::kIo, error,
                  "the staging file can't be written");
    }
    done += static_cast<std::uint64_t>(written);
  }
  // Blocks are allocated for good before the mapping relies on them.
  if (fsync(descriptor) != 0) return fail(ErrorKind::kIo, errno, "the staging file can't be synced");
  return {};
}

}  // namespace

Result<std::unique_ptr<StagingMemory>> map_staging_file(const std::string& path, std::uint64_t size_bytes) {
  const int descriptor = open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0600);
  if (descriptor < 0) {
    const bool forbidden = errno == EACCES || errno == EPERM || errno == EROFS;
    return fail(forbidden ? ErrorKind::kReadOnly : ErrorKind::kIo, errno, "the staging file can't be opened");
  }
  auto filled = fill(descriptor, size_bytes);
  if (!filled) {
    close(descriptor);
    return std::unexpected(filled.error());
  }
  void* memory = mmap(nullptr, size_bytes, PROT_READ | PROT_WRITE, MAP_SHARED, descriptor, 0);
  const int error = errno;
  close(descriptor);
  if (memory == MAP_FAILED) return fail(ErrorKind::kIo, error, "the staging file can't be mapped");
  return std::make_unique<MappedStaging>(std::span(static_cast<std::byte*>(memory), size_bytes));
}

std::unique_ptr<StagingMemory> copy_staging_file(const std::string& path, std::uint64_t size_bytes) {
  auto memory = std::make_unique<PlainStaging>(size_bytes);
  const int descriptor = open(path.c_str(), O_RDONLY | O_CLOEXEC);
  if (descriptor < 0) return memory;
  std::uint64_t done = 0;
  while (done < size_bytes) {
    const ssize_t got =
        pread(descriptor, memory->bytes().data() + done, size_bytes - done, static_cast<off_t>(done));
    if (got <= 0) break;
    done += static_cast<std::uint64_t>(got);
  }
  close(descriptor);
  return memory;
}

std::unique_ptr<StagingMemory> make_plain_staging(std::uint64_t size_bytes) {
  return std::make_unique<PlainStaging>(size_bytes);
}

}  // namespace coppice
