// Session: one mount's conversation with the kernel.
//
// A coroutine reads requests from /dev/fuse when there are some, and starts each as an operation of the
// FileSystem. Everything is on the reactor's thread, but for making it, which waits for the system and
// belongs on a thread that may. Destroyed only after serve(), or if it was never served.
#pragma once

#include <sys/types.h>

#include <memory>
#include <optional>
#include <string>

#include "coppice/reactor.h"
#include "fuse/file_system.h"

struct fuse_session;

namespace coppice::fuse {

class Session {
 public:
  // Without a FileSystem yet: none of this needs the reactor. `source` is what the mount is listed as.
  static Outcome<std::unique_ptr<Session>> mount(const std::string& directory, const std::string& source,
                                                 bool allow_other);
  // … for the kernel's end of a mount that another process made, which is told apart by `name`. The
  // descriptor is taken.
  static Outcome<std::unique_ptr<Session>> take(int descriptor, const std::string& name);
  Session(const Session&) = delete;
  Session& operator=(const Session&) = delete;
  ~Session();

  // Until the mount is gone, or cut off, and every request that was taken is done.
  Task<void> serve(Reactor& reactor, FileSystem& file_system);
  // No more requests are taken: those who still have files open are told so (ENOTCONN) when this is
  // destroyed.
  void cut_off();

  // For Operations, while a request is worked on.
  FileSystem& file_system() { return *file_system_; }
  void start(Task<void> operation);
  Payload take_payload(const char* bytes, std::size_t size);

 private:
  explicit Session(fuse_session* session) : session_(session) {}

  static Outcome<std::unique_ptr<Session>> make(const std::string& options, const std::string& directory,
                                                const std::string& name);
  Task<void> take_requests();
  Outcome<> prepare_waiting(const std::string& directory);
  // Bytes, or -errno.
  ssize_t receive();
  Task<void> run(Task<void> operation);

  fuse_session* session_;
  int descriptor_ = -1;
  int cut_off_ = -1;  // an eventfd
  int waiting_ = -1;  // an epoll that is ready when either is
  bool ending_ = false;
  Reactor* reactor_ = nullptr;
  FileSystem* file_system_ = nullptr;
  AlignedBuffer request_;  // being read, or being worked on
  std::optional<WaitGroup> running_;
};

}  // namespace coppice::fuse
