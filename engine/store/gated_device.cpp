#include "store/gated_device.h"

namespace coppice {

namespace {

class GatedDevice final : public BlockDevice {
 public:
  GatedDevice(std::unique_ptr<BlockDevice> disk, AttachmentGate& gate, AttachmentGate::Passes::iterator pass)
      : disk_(std::move(disk)), gate_(gate), pass_(pass) {}
  GatedDevice(const GatedDevice&) = delete;
  GatedDevice& operator=(const GatedDevice&) = delete;
  ~GatedDevice() override {
    // Whoever waits for the pass to go finds the disk closed.
    disk_.reset();
    gate_.leave(pass_);
  }

  [[nodiscard]] std::uint64_t size_bytes() const override { return disk_->size_bytes(); }
  [[nodiscard]] bool read_only() const override { return false; }

  Task<Result<>> read(std::uint64_t offset, std::span<std::byte> into) override {
    return disk_->read(offset, into);
  }
  Task<Result<>> flush() override { return disk_->flush(); }
  Task<Result<>> extents(std::uint64_t offset, std::uint64_t length, std::size_t max,
                         std::vector<Extent>& into) override {
    return disk_->extents(offset, length, max, into);
  }
  Task<Result<>> layers(std::uint64_t offset, std::uint64_t length, std::size_t max,
                        std::vector<Extent>& into) override {
    return disk_->layers(offset, length, max, into);
  }

  Task<Result<>> write(std::uint64_t offset, std::span<const std::byte> from, WriteFlags flags) override {
    return admitted([this, offset, from, flags] { return disk_->write(offset, from, flags); });
  }
  Task<Result<>> write_zeroes(std::uint64_t offset, std::uint64_t length, ZeroFlags flags) override {
    return admitted([this, offset, length, flags] { return disk_->write_zeroes(offset, length, flags); });
  }
  Task<Result<>> discard(std::uint64_t offset, std::uint64_t length, WriteFlags flags) override {
    return admitted([this, offset, length, flags] { return disk_->discard(offset, length, flags); });
  }

 private:
  // What changes the disk. `request` lives as long as the task.
  template <class Request>
  Task<Result<>> admitted(Request request) {
    Result<> done;
    if (!gate_.try_write(*pass_)) done = co_await gate_.write(*pass_);
    if (!done) co_return done;
    done = co_await request();
    gate_.wrote();
    co_return done;
  }

  std::unique_ptr<BlockDevice> disk_;
  AttachmentGate& gate_;
  AttachmentGate::Passes::iterator pass_;
};

}  // namespace

std::unique_ptr<BlockDevice> make_gated_device(std::unique_ptr<BlockDevice> disk, AttachmentGate& gate,
                                               AttachmentGate::Pass pass) {
  return std::make_unique<GatedDevice>(std::move(disk), gate, gate.enter(std::move(pass)));
}

}  // namespace coppice
