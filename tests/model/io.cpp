// Random I/O: one request at a time, many at once side by side, and many at once over each other.
#include <algorithm>
#include <numeric>

#include "request.h"

namespace coppice::test {

namespace {

constexpr std::uint64_t kReadPiece = std::uint64_t{1} << 20;

}  // namespace

World::Range World::random_range(std::uint64_t size_bytes, std::uint64_t max_length) {
  const std::uint64_t unit = one_in(3) ? 1 : one_in(3) ? kSectorBytes : kBlockBytes;
  const std::uint64_t wanted =
      unit * (1 + below(std::max<std::uint64_t>(1, (one_in(8) ? max_length : max_length / 8) / unit)));
  // Now and then where it hurts: the start, the end, the borders of leaves.
  std::uint64_t offset = below(size_bytes) / unit * unit;
  if (one_in(10)) offset = 0;
  if (one_in(10)) offset = offset / (64 * kBlockBytes) * (64 * kBlockBytes);
  if (one_in(10) && wanted <= size_bytes) offset = size_bytes - wanted;
  return {offset, std::min(wanted, size_bytes - offset)};
}

std::vector<std::byte> World::random_bytes(std::uint64_t length) {
  std::vector<std::byte> bytes(length);
  const bool zeroes = one_in(30);
  for (std::uint64_t at = 0; at + 8 <= length && !zeroes; at += 8) {
    const std::uint64_t value = random_();
    std::memcpy(bytes.data() + at, &value, 8);
  }
  for (std::uint64_t at = length / 8 * 8; at < length; ++at) bytes[at] = static_cast<std::byte>(random_());
  return bytes;
}

World::Request World::random_request(const Content& content, std::uint64_t max_length) {
  Request request;
  const std::uint64_t choice = below(20);
  request.kind = choice < 5    ? Request::Kind::kRead
                 : choice < 14 ? Request::Kind::kWrite
                 : choice < 16 ? Request::Kind::kZero
                 : choice < 18 ? Request::Kind::kDiscard
                               : Request::Kind::kFlush;
  request.range = random_range(content.size_bytes(), max_length);
  request.force_unit_access = one_in(12);
  request.no_hole = request.kind == Request::Kind::kZero && one_in(2);
  if (request.kind == Request::Kind::kWrite) request.bytes = random_bytes(request.range.length);
  if (request.kind == Request::Kind::kRead) request.bytes.resize(request.range.length);
  return request;
}

Task<void> World::perform(BlockDevice& device, Request& request, Latch& latch) {
  const WriteFlags flags{request.force_unit_access};
  const ZeroFlags zero_flags{request.force_unit_access, request.no_hole};
  const std::uint64_t offset = request.range.offset;
  const std::uint64_t length = request.range.length;
  switch (request.kind) {
    case Request::Kind::kRead:
      request.answer = co_await device.read(offset, request.bytes);
      break;
    case Request::Kind::kWrite:
      request.answer = co_await device.write(offset, request.bytes, flags);
      break;
    case Request::Kind::kZero:
      request.answer = co_await device.write_zeroes(offset, length, zero_flags);
      break;
    case Request::Kind::kDiscard:
      request.answer = co_await device.discard(offset, length, flags);
      break;
    case Request::Kind::kFlush:
      request.answer = co_await device.flush();
      break;
  }
  latch.arrive();
}

Task<void> World::perform_all(BlockDevice& device, std::vector<Request>& requests) {
  Latch latch(static_cast<std::uint32_t>(requests.size()));
  for (Request& request : requests) spawn(perform(device, request, latch));
  co_await latch;
}

void World::apply(Content& content, const Request& request) {
  if (request.kind == Request::Kind::kWrite) content.write(request.range.offset, request.bytes);
  if (request.kind == Request::Kind::kZero)
    content.clear(request.range.offset, request.range.length, request.no_hole);
  if (request.kind == Request::Kind::kDiscard)
    content.clear(request.range.offset, request.range.length, false);
}

// What the blocks may hold on the way, each request being done or not, in any order.
Open World::possible(const Content& before, const std::vector<Request>& requests) const {
  Open open;
  std::vector<std::size_t> order;
  for (std::size_t i = 0; i < requests.size(); ++i)
    if (requests[i].changes()) order.push_back(i);
  // The beginnings of all orders are the orders of all parts.
  do {
    Content tried = before;
    for (const std::size_t at : order) {
      const Request& request = requests[at];
      apply(tried, request);
      for (std::uint64_t block = request.first_block(); block < request.end_block(); ++block)
        open[block].push_back(tried.block(block));
    }
  } while (std::ranges::next_permutation(order).found);
  return open;
}

void World::issue(const std::string& disk, std::vector<Request>& requests, bool apart) {
  BlockDevice& open_disk = device(disk);
  ModelNode& head = nodes_.at(head_of(disk));
  const Content before = head.content;
  Content after = before;
  if (apart) {
    for (const Request& request : requests) apply(after, request);
    for (std::uint64_t block = 0; block < before.blocks(); ++block)
      if (before.block(block) != after.block(block)) in_flight_[disk][block] = {after.block(block)};
  } else if (host_.dies()) {
    in_flight_[disk] = possible(before, requests);
  }
  run(perform_all(open_disk, requests));
  // A flush speaks for what was answered before it was asked for.
  const auto flushes = [](const Request& request) { return request.kind == Request::Kind::kFlush; };
  if (std::ranges::any_of(requests, flushes)) head.unflushed.clear();
  for (const auto& [block, versions] : in_flight_[disk])
    for (const VersionPointer& version : versions) note_unflushed(head, block, before.block(block), version);
  if (!apart) return;  // until it is known what they did
  in_flight_.erase(disk);
  head.content = std::move(after);
  for (const Request& request : requests) {
    if (!request.force_unit_access || !request.changes()) continue;
    for (std::uint64_t block = request.first_block(); block < request.end_block(); ++block)
      head.unflushed.erase(block);
  }
}

void World::one_request() {
  const std::string disk = some_disk();
  const Content& content = content_of(disk);
  std::vector<Request> requests;
  requests.push_back(random_request(content, 1 << 20));
  const Request& request = requests.front();
  const std::string what = disk + " " + request.text();
  note(what);
  issue(disk, requests, true);
  require(request.answer, what);
  if (request.kind != Request::Kind::kRead) return;
  const std::uint64_t wrong = content.first_difference(request.range.offset, request.bytes);
  expect(wrong == Content::kEqual, what + ": wrong byte at " + std::to_string(wrong));
}

// Many at once that share no block: what each does stands on its own.
void World::requests_apart() {
  const std::string disk = some_disk();
  const Content& content = content_of(disk);
  std::vector<Request> requests;
  std::vector<bool> used(content.blocks());
  for (std::uint64_t tries = 2 + below(60); tries > 0; --tries) {
    Request request = random_request(content, 128 << 10);
    const auto first = used.begin() + static_cast<std::ptrdiff_t>(request.first_block());
    const auto end = used.begin() + static_cast<std::ptrdiff_t>(request.end_block());
    if (std::find(first, end, true) != end) continue;
    std::fill(first, end, true);
    requests.push_back(std::move(request));
  }
  note(disk + " " + std::to_string(requests.size()) + " requests apart");
  if (requests.empty()) return;
  issue(disk, requests, true);
  for (const Request& request : requests) {
    const std::string what = disk + " " + request.text();
    require(request.answer, what);
    if (request.kind != Request::Kind::kRead) continue;
    const std::uint64_t wrong = content.first_difference(request.range.offset, request.bytes);
    expect(wrong == Content::kEqual, what + ", among others: wrong byte at " + std::to_string(wrong));
  }
}

namespace {

// The part of [offset, +length) in one block, as an offset and a length of its own.
struct Part {
  std::uint64_t offset = 0;
  std::uint64_t length = 0;
};
Part part_in(std::uint64_t block, std::uint64_t offset, std::uint64_t length) {
  const std::uint64_t start = std::max(offset, block * kBlockBytes);
  const std::uint64_t end = std::min(offset + length, (block + 1) * kBlockBytes);
  return start < end ? Part{start, end - start} : Part{};
}

bool holds(const Content& content, std::uint64_t block, std::uint64_t offset,
           std::span<const std::byte> found) {
  const Part part = part_in(block, offset, found.size());
  return content.first_difference(part.offset, found.subspan(part.length == 0 ? 0 : part.offset - offset,
                                                             part.length)) == Content::kEqual;
}

}  // namespace

// Overlapping requests are done one after the other, in some order: writes as a whole, reads, zeroes and
// discards block by block. For each block, one of all orders must explain what was read and what stands there
// afterwards; among writes alone, one order must do so for all blocks.
void World::requests_overlapping() {
  const std::string disk = some_disk();
  Content& content = content_of(disk);
  const std::uint64_t window = std::min<std::uint64_t>(content.size_bytes(), 24 << 10);
  const std::uint64_t base = below(content.size_bytes() - window + 1);
  std::vector<Request> requests;
  for (std::uint64_t count = 2 + below(3); count > 0; --count) {
    Request request = random_request(content, window);
    const Range range = random_range(window, window * 4);
    request.range = {base + range.offset, range.length};
    if (request.kind == Request::Kind::kWrite) request.bytes = random_bytes(range.length);
    if (request.kind == Request::Kind::kRead) request.bytes.assign(range.length, std::byte{0});
    requests.push_back(std::move(request));
  }
  std::string what = disk + " overlapping:";
  for (const Request& request : requests) what += " " + request.text();
  note(what);
  issue(disk, requests, false);
  for (const Request& request : requests) require(request.answer, what);
  std::vector<std::byte> after(window);
  require(run(device(disk).read(base, after)), what);

  const bool writes_only = std::ranges::all_of(requests, [](const Request& request) {
    return !request.changes() || request.kind == Request::Kind::kWrite;
  });
  bool whole_order = false;
  const std::uint64_t first_block = base / kBlockBytes;
  const std::uint64_t end_block = round_up(base + window, kBlockBytes) / kBlockBytes;
  std::vector<VersionPointer> explained(end_block - first_block);
  std::vector<bool> possible(end_block - first_block);
  std::vector<std::size_t> order(requests.size());
  std::iota(order.begin(), order.end(), 0);
  do {
    Content tried = content;
    std::vector<bool> fits(end_block - first_block, true);
    for (const std::size_t at : order) {
      const Request& request = requests[at];
      for (std::uint64_t block = first_block; block < end_block && request.kind == Request::Kind::kRead;
           ++block)
        fits[block - first_block] =
            fits[block - first_block] && holds(tried, block, request.range.offset, request.bytes);
      apply(tried, request);
    }
    for (std::uint64_t block = first_block; block < end_block; ++block) {
      if (!fits[block - first_block] || !holds(tried, block, base, after)) continue;
      possible[block - first_block] = true;
      explained[block - first_block] = tried.block(block);
    }
    whole_order = whole_order || tried.first_difference(base, after) == Content::kEqual;
  } while (std::ranges::next_permutation(order).found);
  expect(whole_order || !writes_only, what + ": no order of the writes explains what stands there");
  for (std::uint64_t block = first_block; block < end_block; ++block) {
    expect(possible[block - first_block], what + ": no order explains block " + std::to_string(block));
    // Which order it was may stay open, and with it whether a block still takes space.
    if (explained[block - first_block] == content.block(block)) continue;
    const VersionPointer now = either_version(explained[block - first_block]);
    note_unflushed(nodes_.at(head_of(disk)), block, content.block(block), now);
    content.set_block(block, now);
  }
  in_flight_.erase(disk);
}

void World::verify_content(BlockDevice& device, const Content& content, const std::string& what) {
  expect(device.size_bytes() == content.size_bytes(),
         what + ": its size is " + std::to_string(device.size_bytes()));
  std::vector<std::byte> piece(kReadPiece);
  for (std::uint64_t at = 0; at < content.size_bytes(); at += kReadPiece) {
    const auto part = std::span(piece).first(std::min(kReadPiece, content.size_bytes() - at));
    require(run(device.read(at, part)), what + " at " + std::to_string(at));
    const std::uint64_t wrong = content.first_difference(at, part);
    expect(wrong == Content::kEqual, what + ": wrong byte at " + std::to_string(wrong));
  }
}

void World::verify_node(int id) {
  const ModelNode& node = nodes_.at(id);
  note("verify " + node.spec().text());
  const auto reader = open(node.spec(), Access::kReadOnly);
  expect(reader->read_only(), node.spec().text() + " says it is writable");
  verify_content(*reader, node.content, node.spec().text());
}

void World::check_extents() {
  const ModelNode& node = nodes_.at(some_node());
  const Content& content = node.content;
  const Range range =
      one_in(2) ? Range{0, content.size_bytes()} : random_range(content.size_bytes(), 8 << 20);
  const std::size_t limit = one_in(2) ? SIZE_MAX : 1 + below(6);
  const std::string what = "extents of " + node.spec().text() + " " + std::to_string(range.offset) + "+" +
                           std::to_string(range.length);
  note(what);
  const auto reader = open(node.spec(), Access::kReadOnly);
  std::vector<Extent> found;
  require(run(reader->extents(range.offset, range.length, limit, found)), what);
  expect(!found.empty() && found.size() <= limit, what + ": " + std::to_string(found.size()) + " extents");
  std::uint64_t at = range.offset;
  for (std::size_t i = 0; i < found.size(); ++i) {
    const Extent& extent = found[i];
    expect(extent.offset_bytes == at && extent.length_bytes > 0, what + ": a gap at " + std::to_string(at));
    expect(i == 0 || extent.allocated != found[i - 1].allocated,
           what + ": neighbours of equal kind at " + std::to_string(at));
    at += extent.length_bytes;
    expect(at <= range.offset + range.length, what + ": goes beyond the range");
    for (std::uint64_t block = extent.offset_bytes / kBlockBytes; block * kBlockBytes < at; ++block) {
      const VersionPointer& version = content.block(block);
      const std::string where = what + ": block " + std::to_string(block);
      expect(extent.allocated || is_zero(version), where + " holds data and is told to be a hole");
      expect(extent.allocated || (space_of(version) != Space::kTaken && space_of(version) != Space::kBase),
             where + " has space and is told to be a hole");
      expect(!extent.allocated || space_of(version) != Space::kNone,
             where + " is a hole and is told to take space");
    }
  }
  expect(at == range.offset + range.length || found.size() == limit,
         what + ": ends early at " + std::to_string(at));
  if (range.length == content.size_bytes() && at == content.size_bytes()) check_allocated(node, found);
}

// Counted by what changed since one that it continues from, and by itself.
void World::check_allocated(const ModelNode& node, const std::vector<Extent>& extents) {
  std::uint64_t bytes = 0;
  for (const Extent& extent : extents) bytes += extent.allocated ? extent.length_bytes : 0;
  const auto told = run(store().allocated(node.spec(), std::chrono::minutes(1)));
  require(told, "allocated of " + node.spec().text());
  expect(told->exact && told->bytes == bytes, node.spec().text() + ": " + std::to_string(bytes) +
                                                  " bytes are allocated, and it says " +
                                                  std::to_string(told->bytes));
}

}  // namespace coppice::test
