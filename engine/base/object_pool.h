// ObjectPool: room for many small objects of one kind, in large chunks.
//
// The heap adds 8 to 24 bytes to each object and scatters them over small pages; a look-up among millions
// then misses the TLB each time. A chunk is as much as there is, and from 256 KiB in all on 2 MiB, and asks
// for a huge page. Room that was given back is used again, and returns to the system with the pool. Threads:
// one at a time.
#pragma once

#include <cstddef>
#include <cstdlib>
#include <memory>
#include <new>
#include <utility>
#include <vector>

namespace coppice {

class FixedRooms {
 public:
  // `bytes`: of each; aligned for pointers.
  explicit FixedRooms(std::size_t bytes) : bytes_(bytes) {}
  FixedRooms(const FixedRooms&) = delete;
  FixedRooms& operator=(const FixedRooms&) = delete;
  ~FixedRooms() = default;

  void* take();
  void give_back(void* room);

 private:
  struct Free {
    Free* next;
  };
  struct FreeChunk {
    void operator()(std::byte* chunk) const { std::free(chunk); }
  };
  void add_chunk();

  std::size_t bytes_;
  Free* free_ = nullptr;
  std::byte* next_ = nullptr;  // never used yet: [next_, end_)
  std::byte* end_ = nullptr;
  std::size_t total_bytes_ = 0;  // of all chunks
  std::vector<std::unique_ptr<std::byte, FreeChunk>> chunks_;
};

template <class T>
class ObjectPool {
 public:
  struct Drop {
    ObjectPool* pool = nullptr;
    void operator()(T* object) const { pool->drop(object); }
  };
  using Pointer = std::unique_ptr<T, Drop>;

  ObjectPool() : rooms_(sizeof(T)) {
    static_assert(alignof(T) <= alignof(void*) && sizeof(T) >= sizeof(void*));
  }

  Pointer make() { return Pointer(new (rooms_.take()) T(), Drop{this}); }
  void drop(T* object) {
    object->~T();
    rooms_.give_back(object);
  }

 private:
  FixedRooms rooms_;
};

}  // namespace coppice
