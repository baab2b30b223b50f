#include "nbd/null_exports.h"

#include <cerrno>
#include <cstring>

namespace coppice::nbd {

namespace {

class NullDevice final : public BlockDevice {
 public:
  explicit NullDevice(bool read_only) : read_only_(read_only) {}
  [[nodiscard]] std::uint64_t size_bytes() const override { return NullExports::kSizeBytes; }
  [[nodiscard]] bool read_only() const override { return read_only_; }
  Task<Result<>> read(std::uint64_t, std::span<std::byte> into) override {
    std::memset(into.data(), 0, into.size());
    co_return Result<>{};
  }
  Task<Result<>> write(std::uint64_t, std::span<const std::byte>, WriteFlags) override {
    co_return Result<>{};
  }
  Task<Result<>> write_zeroes(std::uint64_t, std::uint64_t, ZeroFlags) override { co_return Result<>{}; }
  Task<Result<>> discard(std::uint64_t, std::uint64_t, WriteFlags) override { co_return Result<>{}; }
  Task<Result<>> flush() override { co_return Result<>{}; }
  Task<Result<>> extents(std::uint64_t offset_bytes, std::uint64_t length_bytes, std::size_t,
                         std::vector<Extent>& into) override {
    into.push_back({offset_bytes, length_bytes, false});
    co_return Result<>{};
  }

 private:
  bool read_only_;
};

ExportInfo null_info() {
  return {.name = NullExports::kName,
          .description = "zeroes, whatever is written",
          .size_bytes = NullExports::kSizeBytes};
}

std::unexpected<Failure> unknown(const std::string& name) {
  return refuse(ErrorKind::kNotFound, "no export '" + name + "': with --null there is 'null' alone");
}

}  // namespace

Task<Outcome<std::vector<ExportInfo>>> NullExports::list() {
  co_return std::vector<ExportInfo>{null_info()};
}

Task<Outcome<ExportInfo>> NullExports::describe(std::string name) {
  if (name != kName) co_return unknown(name);
  co_return null_info();
}

Task<Outcome<std::vector<std::string>>> NullExports::bases(std::string, std::size_t) {
  co_return std::vector<std::string>{};
}

Outcome<std::string> NullExports::base_export(std::string, std::string since) {
  return unknown(since);
}

Task<Outcome<std::vector<DiffRange>>> NullExports::changes(std::string, std::string since) {
  co_return unknown(since);
}

Task<Outcome<std::unique_ptr<BlockDevice>>> NullExports::open(std::string name, Holder) {
  if (name != kName) co_return unknown(name);
  co_return std::make_unique<NullDevice>(false);
}

Task<Outcome<std::unique_ptr<BlockDevice>>> NullExports::open_read_only(std::string name, Holder) {
  if (name != kName) co_return unknown(name);
  co_return std::make_unique<NullDevice>(true);
}

}  // namespace coppice::nbd
