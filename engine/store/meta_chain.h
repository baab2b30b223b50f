// MetaChain: frames in the pool, one behind the other, through segments of blocks (layout/meta_copy.h).
//
// Writes go past the page cache and are durable with the pool's next sync. A segment counts when what names
// it is durable: a superblock, or the head of a later one. A reader ends at the first frame that does not
// continue the chain, so what a crash left of a frame is no frame. Threads: the store's scheduler; one
// writer.
#pragma once

#include <cstdint>
#include <optional>
#include <vector>

#include "layout/meta_copy.h"
#include "pool/pool.h"

namespace coppice {

class MetaChain {
 public:
  // A place between two frames.
  struct Point {
    std::uint64_t segment = 0;   // its number
    std::uint64_t block = 0;     // of the segment, its head included
    std::uint64_t sequence = 0;  // of the frame before
    std::uint64_t hash = 0;      // … and of its header
    bool cut = false;            // the frame before is gone, and its hash not known
  };
  struct Piece {
    std::vector<std::byte> payload;
    std::uint32_t flags = 0;
    std::uint64_t applied = 0;
  };

  MetaChain(Pool& pool, std::uint64_t id) : pool_(&pool), id_(id) {}
  // An existing one, from the head of its last segment back to number `first`. kCorrupt: a head is missing.
  static Task<Result<MetaChain>> find(Pool& pool, PhysicalBlock last, std::uint64_t first);

  [[nodiscard]] bool empty() const { return segments_.empty(); }
  [[nodiscard]] PhysicalBlock last_head() const { return segments_.back().runs.front().first; }
  [[nodiscard]] std::uint64_t last_number() const { return segments_.back().number; }
  [[nodiscard]] std::uint64_t blocks() const;
  [[nodiscard]] std::vector<PhysicalRun> runs() const;

  // Writes the head of a new segment; frames go there from now on.
  Task<Result<>> add_segment(std::vector<PhysicalRun> runs);
  // Where the next frame goes: of a segment that is full, on to the one behind it.
  std::uint64_t room_blocks();
  // There is room for the frame.
  Task<Result<>> write(std::span<const std::byte> payload, std::uint32_t flags, std::uint64_t applied);
  // What follows stands in segments behind the last one.
  Task<Result<>> leave_segments();
  [[nodiscard]] const Point& point() const { return point_; }
  void go_on_at(const Point& point) { point_ = point; }
  // Leaves behind the segments below `number`: their runs.
  std::vector<PhysicalRun> forget_before(std::uint64_t number);

  // Where a chain begins; `sequence`: of the last frame before it.
  [[nodiscard]] Point start(std::uint64_t sequence) const {
    return {segments_.front().number, 1, sequence, 0, sequence != 0};
  }
  // The frame at `at`, which moves behind it; nothing at the chain's end.
  Task<Result<std::optional<Piece>>> read(Point& at) const;

 private:
  struct Segment {
    std::uint64_t number = 0;
    std::vector<PhysicalRun> runs;
    std::uint64_t blocks = 0;
  };
  [[nodiscard]] const Segment* segment(std::uint64_t number) const;
  static PhysicalBlock address(const Segment& segment, std::uint64_t block);
  Task<Result<>> transfer(IoRequest::Kind kind, const Segment& segment, std::uint64_t block,
                          std::span<std::byte> bytes) const;

  Pool* pool_;
  std::uint64_t id_;
  std::vector<Segment> segments_;  // their numbers follow each other
  Point point_;
};

}  // namespace coppice
