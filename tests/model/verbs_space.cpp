// A pool that is full.
#include <algorithm>

#include "request.h"

namespace coppice::test {

// It takes the trash before it refuses a write; then all but that write goes on, and when space is back that,
// too.
void World::fill_pool() {
  if (host_.pool_bytes() == 0) return;
  host_.arm(0);
  note("fill the pool");
  const std::string filler = new_name("f");
  require(run(store().create_disk(filler, 8 * host_.pool_bytes())), "create " + filler);
  const bool apart = std::ranges::none_of(trash_, [&](const ModelTrash& each) {
    return std::ranges::any_of(each.nodes, [&](const auto& entry) {
      return entry.second.parent != 0 && !each.nodes.contains(entry.second.parent);
    });
  });
  {
    const Device device = open({filler, ""}, Access::kReadWrite);
    const std::vector<std::byte> bytes(std::size_t{1} << 20, std::byte{0x5a});
    Result<> written;
    for (std::uint64_t at = 0; at < device->size_bytes() && written; at += bytes.size()) {
      written = run(device->write(at, bytes, {}));
      if (trash_.empty()) continue;
      const std::string oldest = trash_.front().name;
      const std::size_t before = trash_.size();
      settle_taken_trash();
      expect(!apart || trash_.size() == before || trash_.empty() || trash_.front().name != oldest,
             "a full pool took another disk than the oldest of the trash");
    }
    expect(!written && written.error().kind == ErrorKind::kNoSpace, "a full pool took a write");
    expect(trash_.empty(), "a write was refused for space that the trash has");
    require(run(device->flush()), "a flush of a full pool");
  }
  remove();
  const std::string disk = some_disk();
  Request discard;
  discard.kind = Request::Kind::kDiscard;
  discard.range.length = kBlockBytes * (1 + below(content_of(disk).size_bytes() / kBlockBytes));
  std::vector<Request> requests{discard};
  issue(disk, requests, true);
  require(requests.front().answer, "a discard in a full pool");
  require(run(store().remove({{filler, ""}}, true)), "rm " + filler);
  require(run(store().wait_for_reclaim()), "reclaim");
  one_request();
  check_store(false);
}

}  // namespace coppice::test
