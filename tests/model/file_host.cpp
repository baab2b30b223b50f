#include <filesystem>
#include <fstream>

#include "host.h"

namespace coppice::test {

namespace {

class FileHost final : public Host {
 public:
  FileHost(Reactor& reactor, std::string directory)
      : reactor_(reactor), directory_(std::move(directory)), base_path_(directory_ + ".base") {
    remove_all();
    InitOptions options;
    options.directory = directory_;
    auto made = reactor_.run(init_store(reactor_, options, {}));
    if (!made) throw Mismatch("init: " + made.error().message);
  }
  ~FileHost() override {
    if (store_) (void)close();
    remove_all();
  }
  Scheduler& scheduler() override { return reactor_; }
  void run(Task<void> task) override { reactor_.run(std::move(task)); }
  Outcome<> open() override {
    OpenOptions options{.directory = directory_, .cache_bytes = std::uint64_t{64} << 20, .notice = {}};
    options.wall_clock = [this] { return wall_ms; };
    auto opened = reactor_.run(open_store(reactor_, std::move(options)));
    if (!opened) return std::unexpected(opened.error());
    store_ = std::move(*opened);
    return {};
  }
  Outcome<> close() override {
    auto closed = reactor_.run(store_->close());
    store_.reset();
    return closed;
  }
  [[nodiscard]] Store& store() override { return *store_; }
  std::string write_base(std::span<const std::byte> bytes) override {
    std::ofstream file(base_path_, std::ios::binary);
    file.write(reinterpret_cast<const char*>(bytes.data()), static_cast<std::streamsize>(bytes.size()));
    return base_path_;
  }
  void spoil_base() override {
    written_ = std::filesystem::last_write_time(base_path_);
    flip_byte();
    std::filesystem::last_write_time(base_path_, written_ + std::chrono::seconds(1));
  }
  void mend_base() override {
    flip_byte();
    std::filesystem::last_write_time(base_path_, written_);
  }
  [[nodiscard]] std::uint64_t largest_disk() const override { return std::uint64_t{16} << 20; }

 private:
  void remove_all() const {
    std::filesystem::remove_all(directory_);
    std::filesystem::remove(base_path_);
  }

  void flip_byte() const {
    std::fstream file(base_path_, std::ios::binary | std::ios::in | std::ios::out);
    char byte = 0;
    file.get(byte);
    file.seekp(0);
    file.put(static_cast<char>(byte ^ 1));
  }

  Reactor& reactor_;
  std::string directory_;
  std::string base_path_;
  std::filesystem::file_time_type written_;
  std::unique_ptr<Store> store_;
};

}  // namespace

std::unique_ptr<Host> make_file_host(Reactor& reactor, std::string directory) {
  return std::make_unique<FileHost>(reactor, std::move(directory));
}

}  // namespace coppice::test
