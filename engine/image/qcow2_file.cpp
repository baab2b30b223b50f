#include "image/qcow2_file.h"

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <list>
#include <vector>

#include "image/unpack.h"

namespace coppice {

namespace {

constexpr std::uint64_t kShelfBytes = std::uint64_t{8} << 20;
constexpr std::size_t kShelfPieces = 256;

using Piece = std::shared_ptr<const std::vector<std::byte>>;

// Pieces of the file that were read last, by where they stand in it.
class Shelf {
 public:
  Piece find(std::uint64_t offset) {
    const auto place = std::ranges::find(pieces_, offset, &std::pair<std::uint64_t, Piece>::first);
    if (place == pieces_.end()) return nullptr;
    pieces_.splice(pieces_.begin(), pieces_, place);
    return place->second;
  }
  void put(std::uint64_t offset, Piece piece) {
    bytes_ += piece->size();
    pieces_.emplace_front(offset, std::move(piece));
    while (pieces_.size() > 1 && (bytes_ > kShelfBytes || pieces_.size() > kShelfPieces)) {
      bytes_ -= pieces_.back().second->size();
      pieces_.pop_back();
    }
  }

 private:
  std::list<std::pair<std::uint64_t, Piece>> pieces_;
  std::uint64_t bytes_ = 0;
};

// A stretch of the disk that stands in one piece, or nowhere, in the file. `offset` is that of its first
// byte; of what is packed, that of the cluster.
struct Stretch {
  Qcow2Place place;
  std::uint64_t bytes = 0;
};

class Qcow2File final : public BlockFile {
 public:
  Qcow2File(const Qcow2Header& header, std::vector<std::byte> l1, std::unique_ptr<BlockFile> file,
            ReadAt read, std::uint64_t file_bytes)
      : header_(header),
        l1_(std::move(l1)),
        file_(std::move(file)),
        read_(std::move(read)),
        file_bytes_(file_bytes) {}

  void submit(IoRequest& request) override;
  [[nodiscard]] std::uint64_t size_bytes() const override { return header_.size_bytes; }
  [[nodiscard]] const std::string& path() const override { return file_->path(); }
  Result<> extend(std::uint64_t /*size_bytes*/) override {
    return fail(ErrorKind::kReadOnly, EROFS, "an image is only read");
  }
  Result<bool> try_lock() override { return file_->try_lock(); }
  std::uint64_t first_data(std::uint64_t from_bytes, std::uint64_t to_bytes) override;
  std::uint64_t first_hole(std::uint64_t from_bytes, std::uint64_t to_bytes) override;

 private:
  Task<void> serve(IoRequest& request);
  Task<Result<Stretch>> stretch(std::uint64_t at, std::uint64_t end);
  Task<Result<>> read_stretch(std::uint64_t at, Stretch stretch, std::span<std::byte> into);
  Task<Result<>> read_file(std::uint64_t offset, std::span<std::byte> into);
  Task<Result<Piece>> table(Qcow2Place place);
  Task<Result<Piece>> unpacked(Qcow2Place place);
  [[nodiscard]] Stretch blocking_stretch(std::uint64_t at, std::uint64_t end);
  [[nodiscard]] Qcow2Place table_for(std::uint64_t at) const;
  [[nodiscard]] Stretch without_table(Qcow2Place place, std::uint64_t at, std::uint64_t end) const;
  [[nodiscard]] Stretch in_table(std::span<const std::byte> l2, std::uint64_t at, std::uint64_t end) const;

  Qcow2Header header_;
  std::vector<std::byte> l1_;
  std::unique_ptr<BlockFile> file_;
  ReadAt read_;
  std::uint64_t file_bytes_;
  Shelf tables_;
  Shelf clusters_;
  // Of the blocking calls, which come one at a time.
  std::uint64_t blocking_at_ = 0;
  std::vector<std::byte> blocking_table_;
};

void Qcow2File::submit(IoRequest& request) {
  const bool within = request.offset_bytes <= header_.size_bytes &&
                      request.length_bytes <= header_.size_bytes - request.offset_bytes;
  request.error = request.kind != IoRequest::Kind::kRead ? EROFS : within ? 0 : EIO;
  if (request.error != 0) return request.latch->arrive();
  spawn(serve(request));
}

// Whoever waits may destroy this file once the latch has arrived.
Task<void> Qcow2File::serve(IoRequest& request) {
  std::uint64_t at = request.offset_bytes;
  const std::uint64_t end = at + request.length_bytes;
  std::span<std::byte> into(request.memory, request.length_bytes);
  while (at < end && request.error == 0) {
    const auto found = co_await stretch(at, end);
    Result<> done;
    if (!found) done = std::unexpected(found.error());
    if (done) done = co_await read_stretch(at, *found, into.first(found->bytes));
    if (!done) {
      request.error = done.error().errno_value == 0 ? EIO : done.error().errno_value;
      break;
    }
    into = into.subspan(found->bytes);
    at += found->bytes;
  }
  request.latch->arrive();
}

Qcow2Place Qcow2File::table_for(std::uint64_t at) const {
  return qcow2_l2_table(header_, qcow2_entry(l1_, at / header_.l2_covers()), file_bytes_);
}

Stretch Qcow2File::without_table(Qcow2Place place, std::uint64_t at, std::uint64_t end) const {
  const std::uint64_t covered = header_.l2_covers() - at % header_.l2_covers();
  return {place, std::min(end - at, covered)};
}

// From there on as far as the table goes and its clusters continue each other.
Stretch Qcow2File::in_table(std::span<const std::byte> l2, std::uint64_t at, std::uint64_t end) const {
  const std::uint64_t cluster = header_.cluster_bytes();
  std::uint64_t index = at / cluster % header_.l2_entries();
  Stretch found{qcow2_cluster(header_, qcow2_entry(l2, index), file_bytes_), cluster - at % cluster};
  const Qcow2Place first = found.place;
  if (first.kind == Qcow2Place::Kind::kData) found.place.offset += at % cluster;
  const bool single = first.kind == Qcow2Place::Kind::kPacked || first.kind == Qcow2Place::Kind::kBroken;
  for (std::uint64_t step = cluster; !single && found.bytes < end - at; step += cluster) {
    if (++index == header_.l2_entries()) break;
    const Qcow2Place next = qcow2_cluster(header_, qcow2_entry(l2, index), file_bytes_);
    const bool goes_on = next.kind == first.kind &&
                         (next.kind == Qcow2Place::Kind::kZero || next.offset == first.offset + step);
    if (!goes_on) break;
    found.bytes += cluster;
  }
  found.bytes = std::min(found.bytes, end - at);
  return found;
}

Task<Result<Stretch>> Qcow2File::stretch(std::uint64_t at, std::uint64_t end) {
  const Qcow2Place place = table_for(at);
  if (place.kind != Qcow2Place::Kind::kData) co_return without_table(place, at, end);
  const auto l2 = co_await table(place);
  if (!l2) co_return std::unexpected(l2.error());
  co_return in_table(**l2, at, end);
}

Task<Result<>> Qcow2File::read_stretch(std::uint64_t at, Stretch stretch, std::span<std::byte> into) {
  switch (stretch.place.kind) {
    case Qcow2Place::Kind::kZero:
      std::ranges::fill(into, std::byte{0});
      break;
    case Qcow2Place::Kind::kData: {
      const std::uint64_t offset = stretch.place.offset;
      const std::uint64_t there = file_bytes_ > offset ? file_bytes_ - offset : 0;
      const std::span<std::byte> written = into.first(std::min<std::uint64_t>(there, into.size()));
      std::ranges::fill(into.subspan(written.size()), std::byte{0});
      auto read = co_await read_file(offset, written);
      co_return read;
    }
    case Qcow2Place::Kind::kPacked: {
      const auto whole = co_await unpacked(stretch.place);
      if (!whole) co_return std::unexpected(whole.error());
      std::memcpy(into.data(), (*whole)->data() + at % header_.cluster_bytes(), into.size());
      break;
    }
    case Qcow2Place::Kind::kBroken:
      co_return fail(ErrorKind::kCorrupt, EIO, "a table of the image is damaged");
  }
  co_return Result<>{};
}

Task<Result<>> Qcow2File::read_file(std::uint64_t offset, std::span<std::byte> into) {
  if (into.empty()) co_return Result<>{};
  Latch latch(1);
  IoRequest request;
  request.offset_bytes = offset;
  request.memory = into.data();
  request.length_bytes = into.size();
  request.latch = &latch;
  file_->submit(request);
  co_await latch;
  co_return to_result(request);
}

Task<Result<Piece>> Qcow2File::table(Qcow2Place place) {
  if (Piece known = tables_.find(place.offset)) co_return known;
  auto bytes = std::make_shared<std::vector<std::byte>>(place.length);
  const std::span<std::byte> into(*bytes);
  auto read = co_await read_file(place.offset, into);
  if (!read) co_return std::unexpected(read.error());
  if (tables_.find(place.offset) == nullptr) tables_.put(place.offset, bytes);
  co_return bytes;
}

Task<Result<Piece>> Qcow2File::unpacked(Qcow2Place place) {
  if (Piece known = clusters_.find(place.offset)) co_return known;
  std::vector<std::byte> packed(place.length);
  const std::span<std::byte> into(packed);
  auto read = co_await read_file(place.offset, into);
  if (!read) co_return std::unexpected(read.error());
  auto bytes = std::make_shared<std::vector<std::byte>>(header_.cluster_bytes());
  const bool whole = header_.zstd ? unpack_zstd(packed, *bytes) : inflate_raw(packed, *bytes);
  if (!whole) co_return fail(ErrorKind::kCorrupt, EIO, "a packed cluster of the image is damaged");
  if (clusters_.find(place.offset) == nullptr) clusters_.put(place.offset, bytes);
  co_return bytes;
}

// What can't be read counts as data.
Stretch Qcow2File::blocking_stretch(std::uint64_t at, std::uint64_t end) {
  const Qcow2Place place = table_for(at);
  if (place.kind != Qcow2Place::Kind::kData) return without_table(place, at, end);
  if (blocking_at_ != place.offset) {
    blocking_table_.resize(place.length);
    blocking_at_ = read_(place.offset, blocking_table_) ? place.offset : 0;
  }
  if (blocking_at_ == 0) return without_table({}, at, end);
  return in_table(blocking_table_, at, end);
}

std::uint64_t Qcow2File::first_data(std::uint64_t from_bytes, std::uint64_t to_bytes) {
  const std::uint64_t end = std::min(to_bytes, header_.size_bytes);
  for (std::uint64_t at = from_bytes; at < end;) {
    const Stretch found = blocking_stretch(at, end);
    if (found.place.kind != Qcow2Place::Kind::kZero) return at;
    at += found.bytes;
  }
  return to_bytes;
}

std::uint64_t Qcow2File::first_hole(std::uint64_t from_bytes, std::uint64_t to_bytes) {
  const std::uint64_t end = std::min(to_bytes, header_.size_bytes);
  for (std::uint64_t at = from_bytes; at < end;) {
    const Stretch found = blocking_stretch(at, end);
    if (found.place.kind == Qcow2Place::Kind::kZero) return at;
    at += found.bytes;
  }
  return to_bytes;
}

std::unexpected<Failure> unreadable() {
  return refuse(ErrorKind::kIo, "it can't be read");
}

}  // namespace

Outcome<Qcow2Header> read_qcow2_header(const ReadAt& read, std::uint64_t file_bytes) {
  std::vector<std::byte> head(std::min<std::uint64_t>(file_bytes, kQcow2HeadBytes));
  if (!read(0, head)) return unreadable();
  return parse_qcow2(head, file_bytes);
}

Outcome<std::unique_ptr<BlockFile>> open_qcow2(std::unique_ptr<BlockFile> file, ReadAt read,
                                               std::uint64_t file_bytes) {
  const auto header = read_qcow2_header(read, file_bytes);
  if (!header) return std::unexpected(header.error());
  std::vector<std::byte> l1(header->l1_entries * kQcow2EntryBytes);
  if (!read(header->l1_offset, l1)) return unreadable();
  return std::make_unique<Qcow2File>(*header, std::move(l1), std::move(file), std::move(read), file_bytes);
}

}  // namespace coppice
