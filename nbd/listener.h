// Listener: a socket that clients connect to.
//
// A Unix socket is made with the mode and the owner that its spec says (never wider, whatever the umask). One
// that nobody listens on any more is replaced; one that answers is refused. The file is removed again with
// the listener, if it still is ours. A socket that was passed is used as it is. Opening blocks shortly
// (names): at start only.
#pragma once

#include <sys/types.h>

#include <string>

#include "coppice/result.h"
#include "nbd/listen_spec.h"

namespace coppice::nbd {

class Listener {
 public:
  static Outcome<Listener> open(const ListenSpec& spec);
  static Outcome<Listener> open(const Endpoint& endpoint) { return open(ListenSpec{.endpoint = endpoint}); }
  Listener(Listener&& other) noexcept;
  Listener& operator=(Listener&&) = delete;
  ~Listener();

  [[nodiscard]] int socket() const { return socket_; }
  // With the port that was given, where port 0 was asked for.
  [[nodiscard]] const Endpoint& endpoint() const { return endpoint_; }
  // Only this machine reaches it.
  [[nodiscard]] bool is_local() const;
  // Ends a pending accept; no client gets in after this. A socket that was passed goes on listening for
  // whoever gets it next, and has a last accept that brings nobody.
  void shut();

 private:
  Listener(int socket, Endpoint endpoint) : socket_(socket), endpoint_(std::move(endpoint)) {}
  static Outcome<Listener> open_unix(const UnixEndpoint& endpoint, const SocketFile& file);
  static Outcome<Listener> open_tcp(const TcpEndpoint& endpoint);
  static Outcome<Listener> take_passed(const ListenSpec& spec);

  int socket_ = -1;
  Endpoint endpoint_;
  bool passed_ = false;
  dev_t device_ = 0;  // of the socket's file
  ino_t inode_ = 0;
};

// Who is at the other end: "nbd client pid 4711", "nbd client 10.0.0.7:49152".
std::string describe_peer(int socket);
// Sends small replies at once, and notices when the client's machine is gone. Nothing for Unix sockets.
void tune_tcp(int socket);

}  // namespace coppice::nbd
