// A BlockFile in memory for the journal: knows what was written and not yet synced, fails on demand, and lets
// a test look at what a power cut would leave.
#pragma once

#include <cerrno>
#include <cstring>
#include <functional>
#include <vector>

#include "io/block_file.h"

namespace coppice::test {

class MemoryFile final : public BlockFile {
 public:
  MemoryFile(Scheduler& scheduler, std::uint64_t size_bytes)
      : scheduler_(scheduler), bytes_(size_bytes), durable_(size_bytes) {}

  void submit(IoRequest& request) override {
    request.error = 0;
    if (request.kind == IoRequest::Kind::kSync) {
      written_ = false;
      ++syncs_in_flight_;
    }
    spawn(complete(request));
  }
  [[nodiscard]] std::uint64_t size_bytes() const override { return bytes_.size(); }
  Result<> extend(std::uint64_t) override { return fail(ErrorKind::kNoSpace, ENOSPC, "full"); }
  Result<bool> try_lock() override { return true; }
  [[nodiscard]] const std::string& path() const override { return path_; }

  [[nodiscard]] std::vector<std::byte>& bytes() { return bytes_; }
  [[nodiscard]] const std::vector<std::byte>& durable() const { return durable_; }

  int fail_write_after = -1;  // this many more writes succeed
  int fail_sync_after = -1;
  int writes = 0;
  int syncs = 0;

 private:
  Task<void> complete(IoRequest& request) {
    co_await sleep_for(scheduler_, std::chrono::nanoseconds{1});  // never before submit() returned
    switch (request.kind) {
      case IoRequest::Kind::kRead:
        if (request.offset_bytes + request.length_bytes > bytes_.size()) {
          request.error = EIO;
        } else {
          std::memcpy(request.memory, bytes_.data() + request.offset_bytes, request.length_bytes);
        }
        break;
      case IoRequest::Kind::kWrite:
        write(request);
        break;
      case IoRequest::Kind::kSync:
        sync(request);
        break;
      case IoRequest::Kind::kZero:
      case IoRequest::Kind::kPunch:
        request.error = EOPNOTSUPP;
        break;
    }
    request.latch->arrive();
  }
  void write(IoRequest& request) {
    ++writes;
    if (fail_write_after >= 0 && fail_write_after-- == 0) {
      request.error = EIO;
      return;
    }
    if (request.offset_bytes + request.length_bytes > bytes_.size()) std::abort();
    std::memcpy(bytes_.data() + request.offset_bytes, request.memory, request.length_bytes);
    written_ = true;
  }
  void sync(IoRequest& request) {
    ++syncs;
    --syncs_in_flight_;
    if (fail_sync_after >= 0 && fail_sync_after-- == 0) {
      request.error = EIO;
      written_ = true;
      return;
    }
    durable_ = bytes_;
  }

  Scheduler& scheduler_;
  std::vector<std::byte> bytes_;
  std::vector<std::byte> durable_;
  std::string path_ = "memory";
};

}  // namespace coppice::test
