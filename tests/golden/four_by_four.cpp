// The 4×4 picture: a base A..P, one letter a block, a snapshot, seven writes, a rollback. Prints what the
// disk and its snapshots hold after each; the text is compared with four_by_four.txt.
#include <cstdio>
#include <filesystem>
#include <string>

#include "coppice/store.h"

namespace {

using namespace coppice;

template <class R>
const R& must(const R& result, const char* what) {
  if (!result) {
    std::fprintf(stderr, "four_by_four: %s failed\n", what);
    std::exit(1);
  }
  return result;
}

void write_letter(Reactor& reactor, BlockDevice& device, std::uint64_t block, char letter) {
  const std::vector<std::byte> bytes(kBlockBytes, static_cast<std::byte>(letter));
  must(reactor.run(device.write(block * kBlockBytes, bytes, {})), "a write");
}

std::unique_ptr<BlockDevice> open(Reactor& reactor, Store& store, Spec spec, Access access) {
  auto opened = reactor.run(store.open_device(std::move(spec), access, {"four_by_four"}));
  must(opened, "opening");
  return std::move(*opened);
}

// Each block must be one letter throughout.
void print(Reactor& reactor, Store& store, const char* name, Spec spec) {
  const auto device = open(reactor, store, std::move(spec), Access::kReadOnly);
  std::string picture;
  for (std::uint64_t block = 0; block < 16; ++block) {
    std::vector<std::byte> bytes(kBlockBytes);
    must(reactor.run(device->read(block * kBlockBytes, bytes)), "a read");
    bool whole = true;
    for (const std::byte byte : bytes) whole = whole && byte == bytes.front();
    if (block % 4 == 0 && block != 0) picture += ' ';
    picture += whole ? static_cast<char>(bytes.front()) : '?';
  }
  std::printf("%-16s%s\n", name, picture.c_str());
}

void play(Reactor& reactor, Store& store) {
  must(reactor.run(store.create_disk("disk", 16 * kBlockBytes)), "create");
  auto device = open(reactor, store, {"disk", ""}, Access::kReadWrite);
  for (std::uint64_t block = 0; block < 16; ++block)
    write_letter(reactor, *device, block, static_cast<char>('A' + block));
  must(reactor.run(store.snapshot({{"disk", "base"}}, {})), "snapshot");
  const std::pair<char, char> changes[] = {{'C', 'Q'}, {'E', 'V'}, {'J', 'W'}, {'K', 'S'},
                                           {'M', 'Z'}, {'N', 'T'}, {'P', 'U'}};
  for (const auto& [over, letter] : changes)
    write_letter(reactor, *device, static_cast<std::uint64_t>(over - 'A'), letter);
  print(reactor, store, "live", {"disk", ""});
  print(reactor, store, "snapshot", {"disk", "base"});
  device.reset();
  must(reactor.run(store.rollback({{"disk", "base"}}, {.keep_as = "changed", .discard = false})), "rollback");
  print(reactor, store, "rolled back", {"disk", ""});
  print(reactor, store, "kept", {"disk", "changed"});
}

}  // namespace

int main() {
  auto reactor = Reactor::create();
  must(reactor, "io_uring");
  const auto directory = std::filesystem::current_path() / "four-by-four-store";
  std::filesystem::remove_all(directory);
  must((*reactor)->run(init_store(**reactor, {.directory = directory.string(), .pools = {}}, {})), "init");
  auto store = (*reactor)->run(open_store(**reactor, {.directory = directory.string(), .notice = {}}));
  must(store, "open");
  play(**reactor, **store);
  must((*reactor)->run((*store)->close()), "close");
  store->reset();
  std::filesystem::remove_all(directory);
  return 0;
}
