// Wire: the client's end of a connection, in memory. It takes the place of io_uring below a reactor, so that
// a conversation costs no system call, and can cut it where a kernel seldom does: bytes come and go in
// pieces, calls are interrupted, the client leaves in the midst of a reply.
//
// What a reactor does that is no matter of sockets stays pending. One thread.
#pragma once

#include <functional>
#include <memory>

#include "coppice/reactor.h"
#include "fuzz.h"
#include "reply_watch.h"

namespace coppice::fuzz {

inline constexpr int kWireSocket = -2;  // shutting it down does nothing

// How a conversation goes; all of it follows from one byte.
struct Manner {
  bool in_pieces = false;
  bool leaves = false;  // behind some bytes of the replies
  std::uint32_t seed = 0;
};

class Wire {
 public:
  // The one that reactors are made on.
  static Wire& get();

  // `sent` outlives the conversation, and ends the stream.
  void begin(Input sent, Manner manner);
  // When nothing moves: true if it changed that.
  std::function<bool()> on_standstill;
  [[nodiscard]] bool client_left() const { return left_; }
  ReplyWatch replies;

  void submit(SystemCall& call);
  void complete_done(bool may_wait);

 private:
  std::int32_t perform(const SystemCall& call);
  std::int32_t receive(const SystemCall& call);
  std::int32_t send(Input bytes);
  std::int32_t send_message(const msghdr& message);
  [[nodiscard]] bool interrupted();
  [[nodiscard]] std::size_t piece_of(std::size_t most);
  std::uint32_t random();

  Input sent_;
  Manner manner_;
  std::uint64_t random_ = 0;
  std::size_t patience_bytes_ = 0;  // of replies until the client leaves
  bool left_ = false;
  std::vector<SystemCall*> done_;
  std::vector<SystemCall*> completing_;
};

}  // namespace coppice::fuzz
