#include "store/meta_restore.h"

#include <cerrno>

#include "base/mutation.h"
#include "layout/meta_copy.h"

namespace coppice {

namespace {

std::unexpected<Error> damaged() {
  return fail(ErrorKind::kCorrupt, EIO, "the copy of the metadata in the pool is damaged");
}

// Collects the pieces of a batch and hands on what is whole.
class Sink {
 public:
  explicit Sink(MetaStore* into) : into_(into) {}

  Result<> add(const MetaChain::Piece& piece, CopyFound& found) {
    payload_.insert(payload_.end(), piece.payload.begin(), piece.payload.end());
    if ((piece.flags & MetaFrame::kEnd) == 0) return {};
    const auto batch = MetaBatch::decode(payload_);
    payload_.clear();
    if (!batch) return damaged();
    for ([[maybe_unused]] const auto& operation : *batch) ++found.entries;
    found.applied = std::max(found.applied, piece.applied);
    return into_ == nullptr ? Result<>{} : into_->write(*batch, false);
  }
  Result<> finish() { return into_ == nullptr ? Result<>{} : into_->write({}, true); }

 private:
  MetaStore* into_;
  std::vector<std::byte> payload_;
};

Task<Result<>> read_base(const MetaChain& base, Sink& sink, CopyFound& found) {
  MetaChain::Point at = base.start(0);
  while (true) {
    auto piece = co_await base.read(at);
    if (!piece) co_return std::unexpected(piece.error());
    if (!*piece) co_return damaged();
    if (((*piece)->flags & MetaFrame::kComplete) != 0) co_return Result<>{};
    auto added = sink.add(**piece, found);
    if (!added) co_return added;
  }
}

Task<Result<>> read_log(const MetaChain& log, const MetaCopyPlace& place, CopyPart part, Sink& sink,
                        CopyFound& found) {
  MetaChain::Point at = log.start(place.log_sequence);
  bool marked = place.mark.sequence <= place.log_sequence;
  const bool to_end = part == CopyPart::kAll || mutated(Mutation::kCopyRestoredUnsynced);
  while (to_end || at.sequence < place.mark.sequence) {
    auto piece = co_await log.read(at);
    if (!piece) co_return std::unexpected(piece.error());
    if (!*piece) break;
    if (at.sequence == place.mark.sequence) marked = at.hash == place.mark.hash;
    auto added = sink.add(**piece, found);
    if (!added) co_return added;
  }
  if (!marked) co_return damaged();
  co_return Result<>{};
}

}  // namespace

Task<Result<CopyFound>> read_copy(Pool& pool, MetaStore* into, CopyPart part) {
  const MetaCopyPlace place = pool.superblock().meta_copy;
  if (!place.whole()) co_return fail(ErrorKind::kNotFound, ENOENT, "the pool holds no copy of the metadata");
  auto base = co_await MetaChain::find(pool, place.base, 1);
  if (!base) co_return std::unexpected(base.error());
  auto log = co_await MetaChain::find(pool, place.log, place.log_first);
  if (!log) co_return std::unexpected(log.error());
  CopyFound found;
  found.bytes = (base->blocks() + log->blocks()) * kBlockBytes;
  Sink sink(into);
  const MetaChain& base_chain = *base;
  const MetaChain& log_chain = *log;
  auto read = co_await read_base(base_chain, sink, found);
  if (read) read = co_await read_log(log_chain, place, part, sink, found);
  if (read) read = sink.finish();
  if (!read) co_return std::unexpected(read.error());
  co_return found;
}

}  // namespace coppice
