// The control socket, both ends: a real server on the reactor, real clients in threads.
#include <fcntl.h>
#include <poll.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>

#include <catch2/catch.hpp>
#include <cstdlib>
#include <filesystem>
#include <thread>

#include "cli/control_client.h"
#include "cli/control_server.h"
#include "cli/control_socket.h"
#include "cli/rpc.h"
#include "memory_store.h"

namespace coppice::cli {
namespace {

// A folder with a daemon's control socket in it, served while `clients` runs in a thread of its own.
class House {
 public:
  House() {
    char name[] = "/tmp/coppice-test-XXXXXX";
    folder_ = mkdtemp(name);
  }
  House(const House&) = delete;
  House& operator=(const House&) = delete;
  ~House() { std::filesystem::remove_all(folder_); }

  template <class Clients>
  void serve(Clients clients) {
    UniqueFd done(eventfd(0, EFD_CLOEXEC));
    auto listener = listen_control(folder_);
    REQUIRE(listener.has_value());
    Dispatcher dispatcher(*reactor_, store, Service{folder_, default_places(folder_), true});
    ControlServer server(*reactor_, dispatcher);
    std::thread thread([&] {
      clients();
      const std::uint64_t one = 1;
      REQUIRE(write(done.get(), &one, sizeof one) == sizeof one);
    });
    reactor_->run(run(server, std::move(*listener), done.get()));
    thread.join();
  }
  [[nodiscard]] const std::string& folder() const { return folder_; }
  ControlClient client() {
    auto connected = ControlClient::connect(folder_);
    REQUIRE(connected.has_value());
    REQUIRE(connected->has_value());
    return std::move(**connected);
  }
  UniqueFd raw() {
    auto socket = connect_control(folder_);
    REQUIRE(socket.has_value());
    REQUIRE(socket->valid());
    return std::move(*socket);
  }

  test::MemoryStore store;

 private:
  Task<void> run(ControlServer& server, UniqueFd listener, int done) {
    server.start(std::move(listener));
    [[maybe_unused]] const auto events = co_await reactor_->poll(done, POLLIN);
    co_await server.stop();
  }

  std::string folder_;
  std::unique_ptr<Reactor> reactor_ = std::move(*Reactor::create());
};

void send_text(const UniqueFd& socket, const std::string& text) {
  REQUIRE(send(socket.get(), text.data(), text.size(), MSG_NOSIGNAL) == static_cast<ssize_t>(text.size()));
}

// All that comes until the server closes or a line is complete.
std::string receive_line(const UniqueFd& socket) {
  std::string text;
  char byte = 0;
  while (recv(socket.get(), &byte, 1, 0) == 1 && byte != '\n') text += byte;
  return text;
}

TEST_CASE("nobody listens") {
  const House house;
  auto connected = ControlClient::connect(house.folder());
  REQUIRE(connected.has_value());
  CHECK_FALSE(connected->has_value());
  CHECK_FALSE(ControlClient::connect(house.folder() + "/none")->has_value());
}

TEST_CASE("verbs and failures travel") {
  House house;
  house.serve([&] {
    auto client = house.client();
    CHECK(client.daemon_pid() == static_cast<std::uint64_t>(getpid()));
    const Request create{.method = "create", .params = {{"disk", "web"}, {"size", 4096}}};
    CHECK(client.call(create)->value("name", "") == "web");
    CHECK(client.call(create).error().kind == ErrorKind::kExists);
    const Request strict{.method = "set", .params = {{"disk", "web"}, {"strict", true}}};
    CHECK(client.call(strict)->value("strict", false));
    const Request nothing{.method = "set", .params = {{"disk", "web"}}};
    CHECK(client.call(nothing).error().kind == ErrorKind::kInvalid);
    const Request snapshot{.method = "set", .params = {{"disk", "web@a"}, {"strict", true}}};
    CHECK(client.call(snapshot).error().kind == ErrorKind::kInvalid);
    CHECK(client.call({.method = "snapshot", .params = {{"specs", {"web@a"}}}}).has_value());
    CHECK(client.call({.method = "snapshot", .params = {{"specs", {"web"}}}}).error().kind ==
          ErrorKind::kInvalid);
    CHECK(client.call({.method = "rollback", .params = {{"specs", {"web@a"}}}})->value("kept", "") ==
          "web@before-rollback");
    CHECK(client.call({.method = "rollback", .params = {{"specs", {"web@a"}}, {"discard", true}}})
              ->at("kept")
              .is_null());
    CHECK(client.call({.method = "rename", .params = {{"from", "web@a"}, {"to", "web@b"}}})
              ->value("name", "") == "web@b");
    CHECK(client.call({.method = "rename", .params = {{"from", "web@b"}, {"to", "x@b"}}}).error().kind ==
          ErrorKind::kInvalid);
    CHECK(client.call({.method = "info", .params = {{"spec", "none"}}}).error().kind == ErrorKind::kNotFound);
    CHECK(client.call({.method = "info", .params = {{"spec", "web"}, {"x", 1}}}).error().kind ==
          ErrorKind::kInvalid);
    CHECK(client.call({.method = "fly"}).error().kind == ErrorKind::kUnsupported);
    const auto info = client.call({.method = "info", .params = {{"spec", "web@b"}}});
    CHECK(info->at("nbd").at(0) == "nbd+unix:///web@b?socket=" + house.folder() + "/nbd.sock");
    CHECK(client.call({.method = "list"})->size() == 3);
    CHECK(client.call({.method = "dump"})->value("text", "") == "nothing\n");
  });
}

TEST_CASE("the socket is its owner's alone, deep stores have one, dead ones are replaced") {
  House house;
  struct stat status{};
  house.serve([&] { CHECK(stat(control_path(house.folder()).c_str(), &status) == 0); });
  CHECK((status.st_mode & 0777) == 0600);
  house.serve([&] { house.client(); });  // over the socket that the first one left
  const std::string deep = house.folder() + "/" + std::string(120, 'd');
  REQUIRE(std::filesystem::create_directory(deep));
  const auto listener = listen_control(deep);
  REQUIRE(listener.has_value());
  CHECK(connect_control(deep)->valid());
  std::filesystem::remove(control_path(house.folder()));
  UniqueFd(open(control_path(house.folder()).c_str(), O_CREAT | O_WRONLY, 0600)).reset();
  CHECK_FALSE(listen_control(house.folder()).has_value());
}

TEST_CASE("a hostile client costs its own connection only") {
  House house;
  house.serve([&] {
    const auto half = house.raw();
    send_text(half, R"({"jsonrpc":"2.0","id":1,)");
    const auto garbage = house.raw();
    send_text(garbage, "\x01\xff garbage\n");
    CHECK(decode_reply(receive_line(garbage)).answer.error().message.find("not JSON") != std::string::npos);
    const auto no_id = house.raw();
    send_text(no_id, "{\"jsonrpc\":\"2.0\",\"method\":\"list\"}\n");
    CHECK_FALSE(decode_reply(receive_line(no_id)).answer.has_value());
    const auto gone = house.raw();
    send_text(gone, encode_request(1, "list", Json::object()));
    const auto endless = house.raw();
    // The server hangs up in the middle of it: the last pieces may go nowhere.
    const std::string flood(64 << 10, 'x');
    for (int i = 0; i < 16; ++i) send_text(endless, flood);
    (void)send(endless.get(), flood.data(), flood.size(), MSG_NOSIGNAL);
    CHECK(decode_reply(receive_line(endless)).answer.error().message.find("1 MiB") != std::string::npos);
    CHECK(receive_line(endless).empty());  // closed
    CHECK(house.client().call({.method = "list"}).has_value());
  });
}

TEST_CASE("two requests in one piece are both answered, and a request in two pieces too") {
  House house;
  house.serve([&] {
    const auto socket = house.raw();
    send_text(socket,
              encode_request(1, "hello", Json::object()) + "\n" + encode_request(2, "list", Json::object()));
    CHECK(Json::parse(receive_line(socket))["id"] == 1);
    CHECK(Json::parse(receive_line(socket))["id"] == 2);
    const std::string line = encode_request(3, "hello", Json::object());
    send_text(socket, line.substr(0, 10));
    std::this_thread::sleep_for(std::chrono::milliseconds(20));
    send_text(socket, line.substr(10));
    CHECK(Json::parse(receive_line(socket))["id"] == 3);
  });
}

TEST_CASE("an image goes both ways through descriptors, and is refused without one") {
  House house;
  std::string text(3 << 20, '\0');
  text[5000] = 'x';
  text.back() = 'y';
  char name[] = "/tmp/coppice-test-XXXXXX";
  const UniqueFd file(mkstemp(name));
  unlink(name);
  REQUIRE(pwrite(file.get(), text.data(), text.size(), 0) == static_cast<ssize_t>(text.size()));
  house.serve([&] {
    auto client = house.client();
    const Json params{{"disk", "web"}, {"stream", false}};
    CHECK(client.call({.method = "import", .params = params}).error().kind == ErrorKind::kInvalid);
    REQUIRE(client.call({.method = "import", .params = params, .file = file.get()}).has_value());
    int ends[2];
    REQUIRE(pipe(ends) == 0);
    UniqueFd source(ends[0]);
    UniqueFd sink(ends[1]);
    std::string got;
    std::thread reader([&] {
      char part[4096];
      for (ssize_t n = 0; (n = read(source.get(), part, sizeof part)) > 0;)
        got.append(part, static_cast<std::size_t>(n));
    });
    const Request request{.method = "export",
                          .params = {{"from", "web"}, {"stream", true}},
                          .file = sink.get(),
                          .stream = Direction::kOut};
    CHECK(client.call(request).has_value());
    sink.reset();
    reader.join();
    CHECK(got == text);
  });
}

TEST_CASE("a stream comes in whole, and not at all when its command dies") {
  House house;
  const std::string text(20 << 20, 'z');
  house.serve([&] {
    int ends[2];
    REQUIRE(pipe(ends) == 0);
    UniqueFd source(ends[0]);
    std::thread writer([&text, sink = ends[1]] {
      for (std::size_t done = 0; done < text.size();) {
        done += static_cast<std::size_t>(write(sink, text.data() + done, text.size() - done));
      }
      close(sink);
    });
    const Request request{.method = "import",
                          .params = {{"disk", "web"}, {"stream", true}},
                          .file = source.get(),
                          .stream = Direction::kIn};
    CHECK(house.client().call(request).has_value());
    writer.join();
    // The stream ends as it would at the end of an image, but who asked is gone.
    int pair[2];
    REQUIRE(socketpair(AF_UNIX, SOCK_STREAM, 0, pair) == 0);
    UniqueFd ours(pair[0]);
    UniqueFd theirs(pair[1]);
    auto socket = house.raw();
    const std::string line = encode_request(1, "import", {{"disk", "torn"}, {"stream", true}});
    iovec part{const_cast<char*>(line.data()), line.size()};
    alignas(cmsghdr) char control[CMSG_SPACE(sizeof(int))] = {};
    msghdr message{};
    message.msg_iov = &part;
    message.msg_iovlen = 1;
    message.msg_control = control;
    message.msg_controllen = sizeof control;
    cmsghdr* rights = CMSG_FIRSTHDR(&message);
    rights->cmsg_level = SOL_SOCKET;
    rights->cmsg_type = SCM_RIGHTS;
    rights->cmsg_len = CMSG_LEN(sizeof(int));
    const int passed = theirs.get();
    std::memcpy(CMSG_DATA(rights), &passed, sizeof passed);
    REQUIRE(sendmsg(socket.get(), &message, 0) == static_cast<ssize_t>(line.size()));
    theirs.reset();
    send_text(ours, std::string(100'000, 'q'));
    socket.reset();
    ours.reset();
    // The next answer comes after the daemon has seen both ends: connections are served side by side, so ask
    // until what was begun is gone again.
    for (int i = 0; i < 200; ++i) {
      const auto listed = house.client().call({.method = "list"});
      REQUIRE(listed.has_value());
      if (listed->size() == 1 && i > 5) break;
      std::this_thread::sleep_for(std::chrono::milliseconds(10));
    }
  });
  REQUIRE(house.store.images.size() == 1);
  const auto& bytes = house.store.images.at("web")->bytes;
  CHECK(bytes.size() == text.size());
  CHECK(std::ranges::all_of(bytes, [](std::byte byte) { return byte == std::byte{'z'}; }));
}

TEST_CASE("a stop calls off a copy that would never end") {
  House house;
  int pair[2];
  REQUIRE(socketpair(AF_UNIX, SOCK_STREAM, 0, pair) == 0);
  UniqueFd never(pair[0]);
  UniqueFd source(pair[1]);
  std::thread stuck;
  bool answered = true;
  house.serve([&] {
    stuck = std::thread([client = house.client(), &source, &answered]() mutable {
      const Request request{
          .method = "import", .params = {{"disk", "web"}, {"stream", true}}, .file = source.get()};
      answered = client.call(request).has_value();
    });
    std::this_thread::sleep_for(std::chrono::milliseconds(50));
  });
  stuck.join();
  CHECK_FALSE(answered);
  CHECK(house.store.images.empty());
}

}  // namespace
}  // namespace coppice::cli
