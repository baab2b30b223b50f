// Where a server may be told to listen, and what becomes of the socket's file.
#include "nbd/endpoint.h"

#include <fcntl.h>
#include <sys/stat.h>

#include <catch2/catch.hpp>

#include "nbd/listener.h"
#include "server_fixture.h"

using namespace coppice;
using namespace coppice::nbd;
using coppice::test::TemporaryFolder;

namespace {

bool refuses(const std::string& text) {
  const auto endpoint = parse_endpoint(text);
  return !endpoint && endpoint.error().kind == ErrorKind::kInvalid &&
         endpoint.error().message.find(text) != std::string::npos;
}

mode_t mode_of(const std::string& path) {
  struct stat status{};
  REQUIRE(::lstat(path.c_str(), &status) == 0);
  return status.st_mode & 07777;
}

bool exists(const std::string& path) {
  struct stat status{};
  return ::lstat(path.c_str(), &status) == 0;
}

// What a server leaves behind that is killed.
void leave_dead_socket(const std::string& path) {
  const int socket = ::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  std::memcpy(address.sun_path, path.data(), path.size());
  REQUIRE(::bind(socket, reinterpret_cast<const sockaddr*>(&address), sizeof(address)) == 0);
  REQUIRE(::listen(socket, 1) == 0);
  ::close(socket);
}

}  // namespace

TEST_CASE("endpoints are understood as clients write them") {
  CHECK(parse_endpoint("/run/c.sock") == Endpoint(UnixEndpoint{"/run/c.sock"}));
  CHECK(parse_endpoint("nbd+unix:///?socket=/run/c.sock") == Endpoint(UnixEndpoint{"/run/c.sock"}));
  CHECK(parse_endpoint("nbd+unix://?socket=a%20b") == Endpoint(UnixEndpoint{"a b"}));
  CHECK(parse_endpoint("nbd://10.1.2.3:99") == Endpoint(TcpEndpoint{"10.1.2.3", 99}));
  CHECK(parse_endpoint("nbd://host") == Endpoint(TcpEndpoint{"host", 10809}));
  CHECK(parse_endpoint("nbd://") == Endpoint(TcpEndpoint{"127.0.0.1", 10809}));
  CHECK(parse_endpoint("nbd://:0/") == Endpoint(TcpEndpoint{"127.0.0.1", 0}));
  CHECK(parse_endpoint("nbd://[::1]:99") == Endpoint(TcpEndpoint{"::1", 99}));
  CHECK(parse_endpoint("nbd://[::1]") == Endpoint(TcpEndpoint{"::1", 10809}));
  CHECK(parse_endpoint("nbds://host") == Endpoint(TcpEndpoint{"host", 10809, true}));
  CHECK(parse_endpoint("nbds+unix:///?socket=/a") == Endpoint(UnixEndpoint{"/a", true}));
}

TEST_CASE("what isn't understood is refused, not ignored") {
  for (const char* text : {"nbdx://host", "http://host", "nbd://host:1x", "nbd://host:70000",
                           "nbd://host:", "nbd://host/export", "nbd://host?tls-psk-file=x", "nbd://user@host",
                           "nbd://[::1", "nbd://[::1]x:1", "nbd+unix:///", "nbd+unix:///disk?socket=/a",
                           "nbd+unix:///?socket=", "nbd+unix:///?socket=/a&x=1", "nbd+unix:///?socket=/a%2",
                           "nbd+unix:///?socket=/a%zz", "nbd+unix:///?socket=%00", "nbd+unix:///?path=/a"}) {
    INFO(text);
    CHECK(refuses(text));
  }
  CHECK(refuses("/" + std::string(107, 'x')));
  CHECK(parse_endpoint("/" + std::string(106, 'x')));
  CHECK_FALSE(parse_endpoint(""));
}

TEST_CASE("URIs can be given to clients") {
  CHECK(export_uri(UnixEndpoint{"/run/a b"}, "disk@snap") == "nbd+unix:///disk@snap?socket=/run/a%20b");
  CHECK(export_uri(TcpEndpoint{"::1", 10809}, "d") == "nbd://[::1]:10809/d");
  const UnixEndpoint odd{"/x&y?z#%"};
  CHECK(parse_endpoint(export_uri(odd, "")) == Endpoint(odd));
}

TEST_CASE("a Unix socket is for its owner and group, whatever the umask") {
  TemporaryFolder folder;
  const std::string path = folder.file("s");
  for (const mode_t mask : {mode_t{0}, mode_t{022}, mode_t{077}}) {
    const mode_t before = ::umask(mask);
    const auto listener = Listener::open(UnixEndpoint{path});
    ::umask(before);
    REQUIRE(listener);
    CHECK(mode_of(path) == 0660);
  }
  CHECK_FALSE(exists(path));
}

TEST_CASE("a dead server's socket is replaced") {
  TemporaryFolder folder;
  const std::string path = folder.file("s");
  leave_dead_socket(path);
  const auto listener = Listener::open(UnixEndpoint{path});
  REQUIRE(listener);
  const test::RawClient client(path);  // connects
}

TEST_CASE("a socket that answers is left alone") {
  TemporaryFolder folder;
  const std::string path = folder.file("s");
  const auto first = Listener::open(UnixEndpoint{path});
  REQUIRE(first);
  const auto second = Listener::open(UnixEndpoint{path});
  REQUIRE_FALSE(second);
  CHECK(second.error().kind == ErrorKind::kBusy);
  CHECK(second.error().message.find(path) != std::string::npos);
  const test::RawClient client(path);
}

TEST_CASE("a file that is no socket is left alone") {
  TemporaryFolder folder;
  const std::string path = folder.file("s");
  ::close(::open(path.c_str(), O_CREAT | O_WRONLY | O_CLOEXEC, 0600));
  const auto listener = Listener::open(UnixEndpoint{path});
  REQUIRE_FALSE(listener);
  CHECK(listener.error().kind == ErrorKind::kExists);
  CHECK(exists(path));
  CHECK_FALSE(Listener::open(UnixEndpoint{path + "/none/s"}));
}

TEST_CASE("a listener that was replaced does not remove its successor's socket") {
  TemporaryFolder folder;
  const std::string path = folder.file("s");
  auto first = std::make_unique<Outcome<Listener>>(Listener::open(UnixEndpoint{path}));
  REQUIRE(*first);
  REQUIRE(::unlink(path.c_str()) == 0);
  const auto second = Listener::open(UnixEndpoint{path});
  REQUIRE(second);
  first.reset();
  CHECK(exists(path));
}

TEST_CASE("TCP: the port that was given is told, a port in use is refused, a bad host is named") {
  const auto listener = Listener::open(TcpEndpoint{"127.0.0.1", 0});
  REQUIRE(listener);
  const auto endpoint = std::get<TcpEndpoint>(listener->endpoint());
  CHECK(endpoint.port != 0);
  const auto second = Listener::open(endpoint);
  REQUIRE_FALSE(second);
  CHECK(second.error().kind == ErrorKind::kBusy);
  const auto nowhere = Listener::open(TcpEndpoint{"256.256.256.256", 0});
  REQUIRE_FALSE(nowhere);
  CHECK(nowhere.error().message.find("256.256.256.256") != std::string::npos);
}
