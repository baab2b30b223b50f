// TlsRelay: a thread that stands between a client who speaks TLS and the connection that serves it, which
// sees a plain socket: so the path of a request knows nothing of TLS, and encryption takes the reactor none
// of its time.
//
// It holds at most four buffers of 64 KiB and what the two sockets hold; who doesn't read is not read from
// either. The client's socket is borrowed, and shutting it down ends the thread soon. Made and ended on the
// reactor's thread.
#pragma once

#include <memory>
#include <string>
#include <thread>

#include "coppice/reactor.h"
#include "coppice/result.h"
#include "nbd/tls_credentials.h"

namespace coppice::nbd {

class TlsRelay {
 public:
  // The handshake is the client's move now. The credentials outlive the relay.
  static Outcome<std::unique_ptr<TlsRelay>> start(int client, const TlsCredentials& credentials);
  TlsRelay(const TlsRelay&) = delete;
  TlsRelay& operator=(const TlsRelay&) = delete;
  // Only after end().
  ~TlsRelay();

  // Where the client's bytes come out, and go in. At its end where TLS failed.
  [[nodiscard]] int inner() const { return inner_; }
  // Nothing more is put in: what is on its way is sent, and the client told that it was all. Waits until the
  // thread is done; a client that doesn't take it is to be shut down meanwhile. Answers why TLS failed, or
  // nothing.
  Task<std::string> end(Reactor& reactor);

 private:
  TlsRelay(int client, int inner, int outer, int done)
      : client_(client), inner_(inner), outer_(outer), done_(done) {}
  void run(const TlsCredentials& credentials);

  int client_;
  int inner_;
  int outer_;
  int done_;             // an eventfd: the thread has nothing left to do but to return
  std::string problem_;  // the thread's, until it is done
  std::thread thread_;
};

}  // namespace coppice::nbd
