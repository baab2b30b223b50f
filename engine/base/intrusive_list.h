// A list of objects that carry their own links (`previous` and `next` members): no allocation, and removal
// from the middle in constant time. An object is in at most one list.
#pragma once

#include <cstddef>

namespace coppice {

template <class T>
class IntrusiveList {
 public:
  void push_back(T& item) {
    item.previous = last_;
    item.next = nullptr;
    (last_ != nullptr ? last_->next : first_) = &item;
    last_ = &item;
    ++size_;
  }
  void remove(T& item) {
    (item.previous != nullptr ? item.previous->next : first_) = item.next;
    (item.next != nullptr ? item.next->previous : last_) = item.previous;
    item.previous = item.next = nullptr;
    --size_;
  }
  [[nodiscard]] T* front() const { return first_; }
  [[nodiscard]] bool empty() const { return first_ == nullptr; }
  [[nodiscard]] std::size_t size() const { return size_; }

 private:
  T* first_ = nullptr;
  T* last_ = nullptr;
  std::size_t size_ = 0;
};

}  // namespace coppice
