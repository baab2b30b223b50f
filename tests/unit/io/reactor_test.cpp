#include <fcntl.h>
#include <poll.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <sys/un.h>
#include <unistd.h>

#include <algorithm>
#include <catch2/catch.hpp>
#include <cerrno>
#include <cstring>
#include <string>
#include <thread>
#include <vector>

#include "coppice/reactor.h"

namespace coppice {
namespace {

using namespace std::chrono_literals;

std::unique_ptr<Reactor> make_reactor() {
  auto reactor = Reactor::create();
  REQUIRE(reactor.has_value());
  return std::move(*reactor);
}

struct SocketPair {
  int left = -1;
  int right = -1;
  SocketPair() {
    int ends[2];
    REQUIRE(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends) == 0);
    left = ends[0];
    right = ends[1];
  }
  ~SocketPair() {
    close(left);
    close(right);
  }
  SocketPair(const SocketPair&) = delete;
  SocketPair& operator=(const SocketPair&) = delete;
};

Task<int> forty_two() {
  co_return 42;
}

Task<void> note_after(Scheduler& scheduler, std::chrono::nanoseconds delay, int name, std::vector<int>& into,
                      Latch& latch) {
  co_await sleep_for(scheduler, delay);
  into.push_back(name);
  latch.arrive();
}

Task<std::vector<int>> sleepers(Scheduler& scheduler) {
  std::vector<int> order;
  Latch latch(5);
  spawn(note_after(scheduler, 30ms, 3, order, latch));
  spawn(note_after(scheduler, 10ms, 1, order, latch));
  spawn(note_after(scheduler, 20ms, 2, order, latch));
  spawn(note_after(scheduler, 0ms, 0, order, latch));
  spawn(note_after(scheduler, -5ms, 0, order, latch));
  co_await latch;
  co_return order;
}

TEST_CASE("a task's value comes out of run, time after time") {
  auto reactor = make_reactor();
  for (int i = 0; i < 3; ++i) CHECK(reactor->run(forty_two()) == 42);
}

TEST_CASE("timers fire in the order of their deadlines, never early") {
  auto reactor = make_reactor();
  const auto before = reactor->now();
  CHECK(reactor->run(sleepers(*reactor)) == std::vector<int>{0, 0, 1, 2, 3});
  CHECK(reactor->now() - before >= 30ms);
  CHECK(reactor->now() - before < 5s);
}

Task<void> equal_deadlines(Scheduler& scheduler, std::vector<int>& order, Latch& latch) {
  for (int i = 0; i < 100; ++i) spawn(note_after(scheduler, 1ms, i, order, latch));
  co_await latch;
}

TEST_CASE("timers started one after the other with one delay keep their order") {
  auto reactor = make_reactor();
  std::vector<int> order;
  Latch latch(100);
  reactor->run(equal_deadlines(*reactor, order, latch));
  CHECK(std::ranges::is_sorted(order));
  CHECK(order.size() == 100);
}

Task<std::thread::id> where_it_ran(Scheduler& scheduler, std::vector<int>& order, int name) {
  auto id = co_await in_background(scheduler, [&order, name] {
    order.push_back(name);  // one background thread: no lock needed
    return std::this_thread::get_id();
  });
  co_return id;
}

Task<void> background_one(Scheduler& scheduler, std::vector<int>& order, int name, std::thread::id& id,
                          std::thread::id& resumed, Latch& latch) {
  auto ran = co_await where_it_ran(scheduler, order, name);
  id = ran;
  resumed = std::this_thread::get_id();
  latch.arrive();
}

Task<void> background_many(Scheduler& scheduler, std::vector<int>& order, std::vector<std::thread::id>& ids,
                           std::vector<std::thread::id>& resumed) {
  const int count = static_cast<int>(ids.size());
  Latch latch(static_cast<std::uint32_t>(count));
  for (int i = 0; i < count; ++i) {
    const auto at = static_cast<std::size_t>(i);
    spawn(background_one(scheduler, order, i, ids[at], resumed[at], latch));
  }
  co_await latch;
}

TEST_CASE("background jobs run elsewhere, in order, and their waiters resume here") {
  auto reactor = make_reactor();
  std::vector<int> order;
  std::vector<std::thread::id> ids(500);
  std::vector<std::thread::id> resumed(500);
  reactor->run(background_many(*reactor, order, ids, resumed));
  CHECK(order.size() == 500);
  CHECK(std::ranges::is_sorted(order));
  const auto here = std::this_thread::get_id();
  CHECK(std::ranges::count(ids, here) == 0);
  CHECK(std::ranges::count(ids, ids[0]) == 500);
  CHECK(std::ranges::count(resumed, here) == 500);
}

Task<int> slow_job_and_timer(Scheduler& scheduler) {
  std::vector<int> order;
  Latch latch(1);
  spawn(note_after(scheduler, 5ms, 1, order, latch));
  co_await in_background(scheduler, [] {
    std::this_thread::sleep_for(100ms);
    return 0;
  });
  co_return static_cast<int>(order.size());
}

TEST_CASE("a slow background job holds up no timer") {
  auto reactor = make_reactor();
  CHECK(reactor->run(slow_job_and_timer(*reactor)) == 1);
}

Task<void> echo(Reactor& reactor, int socket, std::uint64_t total) {
  std::vector<std::byte> piece(8192);
  while (total > 0) {
    const auto got = co_await reactor.receive(socket, piece);
    if (got <= 0) co_return;
    std::span<const std::byte> left = std::span(piece).first(static_cast<std::size_t>(got));
    total -= left.size();
    while (!left.empty()) {
      const auto sent = co_await reactor.send(socket, left);
      if (sent <= 0) co_return;
      left = left.subspan(static_cast<std::size_t>(sent));
    }
  }
}

Task<void> send_all(Reactor& reactor, int socket, std::span<const std::byte> bytes) {
  // In two pieces per call, as replies with a header are sent.
  while (!bytes.empty()) {
    const std::size_t half = bytes.size() / 2;
    iovec pieces[2] = {{const_cast<std::byte*>(bytes.data()), half},
                       {const_cast<std::byte*>(bytes.data()) + half, bytes.size() - half}};
    msghdr message{};
    message.msg_iov = pieces;
    message.msg_iovlen = 2;
    const auto sent = co_await reactor.send_message(socket, message);
    if (sent <= 0) co_return;
    bytes = bytes.subspan(static_cast<std::size_t>(sent));
  }
}

Task<std::vector<std::byte>> receive_all(Reactor& reactor, int socket, std::size_t total) {
  std::vector<std::byte> all(total);
  std::size_t done = 0;
  while (done < total) {
    const auto got = co_await reactor.receive(socket, std::span(all).subspan(done));
    if (got <= 0) break;
    done += static_cast<std::size_t>(got);
  }
  all.resize(done);
  co_return all;
}

TEST_CASE("what goes through a socket both ways is what was sent") {
  auto reactor = make_reactor();
  const SocketPair pair;
  std::vector<std::byte> bytes(std::size_t{5} << 20);
  for (std::size_t i = 0; i < bytes.size(); ++i) bytes[i] = static_cast<std::byte>(i * 2654435761U >> 13);
  spawn(echo(*reactor, pair.right, bytes.size()));
  spawn(send_all(*reactor, pair.left, bytes));
  const auto back = reactor->run(receive_all(*reactor, pair.left, bytes.size()));
  CHECK(back.size() == bytes.size());
  CHECK(back == bytes);
}

Task<std::int32_t> receive_once(Reactor& reactor, int socket) {
  std::byte byte{};
  const auto got = co_await reactor.receive(socket, std::span(&byte, 1));
  co_return got;
}

Task<void> shut_down_later(Reactor& reactor, int socket) {
  co_await sleep_for(reactor, 20ms);
  shutdown(socket, SHUT_RDWR);
}

TEST_CASE("shutting a socket down ends a pending receive") {
  auto reactor = make_reactor();
  const SocketPair pair;
  spawn(shut_down_later(*reactor, pair.left));
  CHECK(reactor->run(receive_once(*reactor, pair.left)) == 0);
}

struct UnixListener {
  int socket = ::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
  sockaddr_un address{};
  UnixListener() {
    address.sun_family = AF_UNIX;
    const std::string name = "coppice-io-" + std::to_string(getpid());  // abstract: no file is left behind
    std::memcpy(address.sun_path + 1, name.data(), name.size());
    REQUIRE(bind(socket, reinterpret_cast<const sockaddr*>(&address), sizeof address) == 0);
    REQUIRE(listen(socket, 4) == 0);
  }
  ~UnixListener() { close(socket); }
  UnixListener(const UnixListener&) = delete;
  UnixListener& operator=(const UnixListener&) = delete;
};

Task<std::int32_t> accept_once(Reactor& reactor, int listener) {
  const auto accepted = co_await reactor.accept(listener);
  co_return accepted;
}

TEST_CASE("accept takes a client, and shutting the listener down ends it") {
  auto reactor = make_reactor();
  const UnixListener listener;
  const int client = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
  const auto* address = reinterpret_cast<const sockaddr*>(&listener.address);
  REQUIRE(connect(client, address, sizeof listener.address) == 0);
  const int accepted = reactor->run(accept_once(*reactor, listener.socket));
  REQUIRE(accepted >= 0);
  CHECK((fcntl(accepted, F_GETFD) & FD_CLOEXEC) != 0);
  close(accepted);
  close(client);
  spawn(shut_down_later(*reactor, listener.socket));
  CHECK(reactor->run(accept_once(*reactor, listener.socket)) == -EINVAL);
}

struct Pipe {
  int ends[2] = {-1, -1};
  Pipe() { REQUIRE(pipe2(ends, O_CLOEXEC) == 0); }
  ~Pipe() {
    close(ends[0]);
    close(ends[1]);
  }
  Pipe(const Pipe&) = delete;
  Pipe& operator=(const Pipe&) = delete;
};

Task<void> fill_pipe(Reactor& reactor, int descriptor, std::span<const std::byte> bytes) {
  while (!bytes.empty()) {
    const auto put = co_await reactor.write(descriptor, bytes, kStreamPosition);
    if (put <= 0) co_return;
    bytes = bytes.subspan(static_cast<std::size_t>(put));
  }
}

Task<std::vector<std::byte>> drain_pipe(Reactor& reactor, int descriptor, std::size_t total) {
  std::vector<std::byte> all(total);
  std::size_t done = 0;
  while (done < total) {
    const auto got = co_await reactor.read(descriptor, std::span(all).subspan(done), kStreamPosition);
    if (got <= 0) break;
    done += static_cast<std::size_t>(got);
  }
  all.resize(done);
  co_return all;
}

// Both ends on one thread: a write that waited in the kernel would never end.
TEST_CASE("a pipe is filled and emptied by one thread") {
  auto reactor = make_reactor();
  const Pipe pipe;
  std::vector<std::byte> bytes(std::size_t{1} << 20);
  for (std::size_t i = 0; i < bytes.size(); ++i) bytes[i] = static_cast<std::byte>(i * 2654435761U >> 11);
  spawn(fill_pipe(*reactor, pipe.ends[1], bytes));
  CHECK(reactor->run(drain_pipe(*reactor, pipe.ends[0], bytes.size())) == bytes);
}

struct Yield {
  Scheduler& scheduler;
  [[nodiscard]] bool await_ready() const noexcept { return false; }
  void await_suspend(std::coroutine_handle<> handle) { scheduler.post(handle); }
  void await_resume() const noexcept {}
};

Task<void> keep_busy(Scheduler& scheduler, const bool& stop, std::uint64_t& turns, Latch& latch) {
  while (!stop) {
    ++turns;
    co_await Yield{scheduler};
  }
  latch.arrive();
}

// A byte goes back and forth.
Task<void> keep_completing(Reactor& reactor, int socket, bool first, const bool& stop, std::uint64_t& rounds,
                           Latch& latch) {
  std::byte byte{};
  if (first) {
    [[maybe_unused]] const auto sent = co_await reactor.send(socket, std::span(&byte, 1));
  }
  while (!stop) {
    const auto got = co_await reactor.receive(socket, std::span(&byte, 1));
    if (got <= 0) break;
    ++rounds;
    [[maybe_unused]] const auto sent = co_await reactor.send(socket, std::span(&byte, 1));
  }
  shutdown(socket, SHUT_RDWR);
  latch.arrive();
}

Task<void> tick(Scheduler& scheduler, int& ticks) {
  for (; ticks < 20; ++ticks) co_await sleep_for(scheduler, 1ms);
}

Task<int> nap_in_background(Scheduler& scheduler) {
  auto value = co_await in_background(scheduler, [] { return 1; });
  co_return value;
}

struct Shares {
  std::uint64_t turns = 0;
  std::uint64_t rounds = 0;
  int ticks = 0;
  int jobs = 0;
};

Task<Shares> all_at_once(Reactor& reactor, const SocketPair& pair) {
  Shares shares;
  bool stop = false;
  bool quiet = false;
  Latch latch(6);
  for (int i = 0; i < 4; ++i) spawn(keep_busy(reactor, stop, shares.turns, latch));
  spawn(keep_completing(reactor, pair.left, true, quiet, shares.rounds, latch));
  spawn(keep_completing(reactor, pair.right, false, quiet, shares.rounds, latch));
  co_await tick(reactor, shares.ticks);
  // Now nothing is submitted that would bring the jobs' completions along.
  quiet = true;
  for (; shares.jobs < 20; ++shares.jobs) co_await nap_in_background(reactor);
  stop = true;
  co_await latch;
  co_return shares;
}

TEST_CASE("posted coroutines, completions, timers and background jobs starve none of each other") {
  auto reactor = make_reactor();
  const SocketPair pair;
  const auto before = reactor->now();
  const Shares shares = reactor->run(all_at_once(*reactor, pair));
  CHECK(reactor->now() - before < 10s);
  CHECK(shares.turns > 1000);
  CHECK(shares.rounds > 20);
  CHECK(shares.ticks == 20);
  CHECK(shares.jobs == 20);
}

Task<std::int32_t> send_one(Reactor& reactor, int socket) {
  const std::byte byte{1};
  const auto sent = co_await reactor.send(socket, std::span(&byte, 1));
  co_return sent;
}

TEST_CASE("sending to a peer that left is an error, not a signal") {
  auto reactor = make_reactor();
  SocketPair pair;
  close(pair.right);
  pair.right = -1;
  CHECK(reactor->run(send_one(*reactor, pair.left)) == -EPIPE);
  CHECK(reactor->run(receive_once(*reactor, 9999)) == -EBADF);
}

Task<std::int32_t> poll_once(Reactor& reactor, int descriptor) {
  const auto events = co_await reactor.poll(descriptor, POLLIN);
  co_return events;
}

Task<void> write_later(Reactor& reactor, int socket) {
  co_await sleep_for(reactor, 10ms);
  const std::byte byte{1};
  [[maybe_unused]] const auto sent = co_await reactor.send(socket, std::span(&byte, 1));
}

TEST_CASE("poll waits for what can be read") {
  auto reactor = make_reactor();
  const SocketPair pair;
  spawn(write_later(*reactor, pair.left));
  CHECK((reactor->run(poll_once(*reactor, pair.right)) & POLLIN) != 0);
}

Task<void> read_byte(Reactor& reactor, int descriptor, std::uint64_t at, std::byte& into, int& failures,
                     Latch& latch) {
  const auto got = co_await reactor.read(descriptor, std::span(&into, 1), at);
  if (got != 1) ++failures;
  latch.arrive();
}

Task<int> read_bytes_at_once(Reactor& reactor, int descriptor, std::vector<std::byte>& into) {
  int failures = 0;
  Latch latch(static_cast<std::uint32_t>(into.size()));
  for (std::size_t i = 0; i < into.size(); ++i)
    spawn(read_byte(reactor, descriptor, i, into[i], failures, latch));
  co_await latch;
  co_return failures;
}

TEST_CASE("many more requests at once than the ring has entries") {
  auto reactor = make_reactor();
  FILE* file = std::tmpfile();
  REQUIRE(file != nullptr);
  std::vector<std::byte> bytes(40000);
  for (std::size_t i = 0; i < bytes.size(); ++i) bytes[i] = static_cast<std::byte>(i * 31 + i / 256);
  REQUIRE(write(fileno(file), bytes.data(), bytes.size()) == static_cast<ssize_t>(bytes.size()));
  std::vector<std::byte> back(bytes.size());
  CHECK(reactor->run(read_bytes_at_once(*reactor, fileno(file), back)) == 0);
  CHECK(back == bytes);
  std::fclose(file);
}

Task<void> hold_mutex(Scheduler& scheduler, AsyncMutex& mutex, int name, int& inside, std::vector<int>& order,
                      Latch& latch) {
  co_await mutex.lock();
  if (++inside != 1) order.push_back(-1);
  order.push_back(name);
  co_await sleep_for(scheduler, 1ms);
  --inside;
  mutex.unlock();
  latch.arrive();
}

Task<void> take_in_turn(AsyncMutex& mutex, int name, std::vector<int>& order, Latch& latch) {
  co_await mutex.lock();
  order.push_back(name);
  mutex.unlock();
  latch.arrive();
}

// The one that waits is woken from the loop; another that comes before that goes behind it.
Task<std::vector<int>> step_in_between(Scheduler& scheduler) {
  AsyncMutex mutex(scheduler);
  std::vector<int> order;
  Latch latch(2);
  co_await mutex.lock();
  spawn(take_in_turn(mutex, 1, order, latch));
  mutex.unlock();
  spawn(take_in_turn(mutex, 2, order, latch));
  co_await latch;
  co_return order;
}

Reactor::Awaiter sync(Reactor& reactor, int descriptor) {
  SystemCall call;
  call.kind = SystemCall::Kind::kSync;
  call.urgent = true;
  call.descriptor = descriptor;
  return {reactor, call};
}

Task<void> sync_and_note(Reactor& reactor, int descriptor, std::vector<std::int32_t>& results, Latch& latch) {
  results.push_back(co_await sync(reactor, descriptor));
  latch.arrive();
}

// A pipe can't be synced. Whoever makes the sync, the kernel (with others in flight, behind much that was
// written) or the reactor, tells the same.
Task<std::vector<std::int32_t>> sync_alone_and_together(Reactor& reactor, int file, int pipe,
                                                        std::size_t written_before) {
  std::vector<std::int32_t> results;
  const std::vector<std::byte> data(written_before);
  for (const int descriptor : {file, pipe}) {
    if (!data.empty() && co_await reactor.write(file, data, 0) < 0) co_return results;
    Latch alone(1);
    spawn(sync_and_note(reactor, descriptor, results, alone));
    co_await alone;
    Latch together(4);
    std::vector<std::int32_t> mixed;
    for (const int each : {descriptor, pipe, file, descriptor})
      spawn(sync_and_note(reactor, each, mixed, together));
    co_await together;
    std::ranges::sort(mixed);
    results.insert(results.end(), mixed.begin(), mixed.end());
  }
  co_return results;
}

TEST_CASE("a sync says what became of it, alone and among others") {
  auto reactor = make_reactor();
  FILE* file = std::tmpfile();
  REQUIRE(file != nullptr);
  int ends[2];
  REQUIRE(pipe(ends) == 0);
  const std::vector<std::int32_t> good_and_bad{0, -EINVAL, 0, 0, 0, -EINVAL, -EINVAL, -EINVAL, -EINVAL, 0};
  const std::size_t written_before = GENERATE(std::size_t{0}, std::size_t{1} << 20);
  CHECK(reactor->run(sync_alone_and_together(*reactor, fileno(file), ends[1], written_before)) ==
        good_and_bad);
  for (const int end : ends) close(end);
  std::fclose(file);
}

// The reactor may watch for what comes soon, or sleep: nothing is lost between the two.
Task<int> bounce(Reactor& reactor, int socket, int times, std::chrono::microseconds pause) {
  std::byte byte{0};
  for (int i = 0; i < times; ++i) {
    if (co_await reactor.receive(socket, std::span(&byte, 1)) != 1) co_return i;
    if (pause.count() != 0) co_await sleep_for(reactor, pause);
    if (co_await reactor.send(socket, std::span<const std::byte>(&byte, 1)) != 1) co_return i;
  }
  co_return times;
}

TEST_CASE("clients that answer at once, late, and at once again are all heard") {
  auto reactor = make_reactor();
  const SocketPair pair;
  constexpr int kTimes = 400;
  std::thread client([end = pair.right] {
    char byte = 0;
    for (int i = 0; i < 2 * kTimes; ++i) {
      if (i % 100 < 5) std::this_thread::sleep_for(2ms);
      if (write(end, &byte, 1) != 1 || read(end, &byte, 1) != 1) return;
    }
  });
  CHECK(reactor->run(bounce(*reactor, pair.left, kTimes, 0us)) == kTimes);
  CHECK(reactor->run(bounce(*reactor, pair.left, kTimes, 20us)) == kTimes);
  shutdown(pair.left, SHUT_RDWR);
  client.join();
}

TEST_CASE("a mutex goes to the one that waits, not to one that comes at the right moment") {
  auto reactor = make_reactor();
  CHECK(reactor->run(step_in_between(*reactor)) == std::vector<int>{1, 2});
}

Task<void> contend(Scheduler& scheduler, std::vector<int>& order) {
  AsyncMutex mutex(scheduler);
  int inside = 0;
  Latch latch(10);
  for (int i = 0; i < 10; ++i) spawn(hold_mutex(scheduler, mutex, i, inside, order, latch));
  co_await latch;
}

TEST_CASE("a mutex lets one in at a time") {
  auto reactor = make_reactor();
  std::vector<int> order;
  reactor->run(contend(*reactor, order));
  std::ranges::sort(order);
  CHECK(order == std::vector<int>{0, 1, 2, 3, 4, 5, 6, 7, 8, 9});
}

}  // namespace
}  // namespace coppice
