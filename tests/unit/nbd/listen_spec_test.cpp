// What an administrator may say of a listener, and what becomes of it: the socket's file, what its clients
// see.
#include "nbd/listen_spec.h"

#include <grp.h>
#include <pwd.h>
#include <sys/stat.h>

#include <catch2/catch.hpp>

#include "nbd/listener.h"
#include "server_fixture.h"

using namespace coppice;
using namespace coppice::nbd;
using coppice::test::MemoryExports;
using coppice::test::TemporaryFolder;

namespace {

ListenSpec understood(const std::string& text) {
  const auto spec = parse_listen(text);
  if (!spec) FAIL(spec.error().message);
  return *spec;
}

void refuses(const std::string& text, const std::string& word) {
  const auto spec = parse_listen(text);
  INFO(text);
  REQUIRE_FALSE(spec);
  CHECK(spec.error().kind == ErrorKind::kInvalid);
  CHECK(spec.error().message.find(word) != std::string::npos);
  CHECK(spec.error().message.find('\n') == std::string::npos);
}

template <class T>
T run(Reactor& reactor, Task<T> task) {
  return reactor.run(std::move(task));
}

}  // namespace

TEST_CASE("a listener is understood with all that may be said of it") {
  const ListenSpec local =
      understood("nbd+unix:///?mode=0600&socket=/run/a%20b&owner=root&group=7&disks=web*,db&read-only");
  CHECK(local.endpoint == Endpoint(UnixEndpoint{"/run/a b"}));
  CHECK(local.file == SocketFile{.mode = 0600, .owner = "root", .group = "7"});
  CHECK(local.permissions == Permissions{.read_only = true, .disks = {"web*", "db"}});
  CHECK_FALSE(local.tls);
  const ListenSpec remote = understood("nbds://[::]:99/?disks=x");
  CHECK(remote.endpoint == Endpoint(TcpEndpoint{"::", 99, true}));
  CHECK(remote.tls == TlsMode::kRequire);
  CHECK(understood("nbd://host?tls=on").tls == TlsMode::kOn);
  CHECK(understood("nbd://host/?tls=off").tls == TlsMode::kOff);
  CHECK(understood("nbds+unix:///?socket=/s").endpoint == Endpoint(UnixEndpoint{"/s", true}));
  const ListenSpec passed = understood("systemd:vm?read-only");
  CHECK(passed.passed);
  CHECK(passed.passed_name == "vm");
  CHECK(passed.permissions.read_only);
  // A bare path is one, whatever is in it.
  CHECK(understood("/run/a?b&c").endpoint == Endpoint(UnixEndpoint{"/run/a?b&c"}));
}

TEST_CASE("what is wrong with a listener is said, and nothing is ignored") {
  refuses("nbd://host/?colour=red", "colour");
  refuses("nbd://host/?read-only=no", "read-only");
  refuses("nbd://host/?tls=maybe", "off, on or require");
  refuses("nbds://host/?tls=off", "nbds://");
  refuses("nbd://host/?disks=", "disks=");
  refuses("nbd://host/?disks=a,,b", "disks=");
  refuses("nbd://host/?disks=web@monday", "snapshots");
  refuses("nbd://host/?disks=a&disks=b", "twice");
  refuses("nbd://host/?mode=0600", "Unix");
  refuses("nbd://host/?disks=%zz", "%");
  refuses("nbd+unix:///?socket=/s&mode=999", "octal");
  refuses("nbd+unix:///?socket=/s&mode=01777", "octal");
  refuses("nbd+unix:///?socket=/s&mode=", "octal");
  refuses("nbd+unix:///?socket=/s&owner=", "owner=");
  refuses("nbd+unix:///?mode=0600", "socket");
  refuses("nbd+unix:///?socket=/" + std::string(120, 'x'), "107");
  refuses("systemd:vm?mode=0600", "mode=");
}

TEST_CASE("the socket's file has the mode and the owner that it is to have") {
  TemporaryFolder folder;
  ListenSpec spec{.endpoint = UnixEndpoint{folder.file("s")}};
  spec.file = {.mode = 0640, .owner = std::to_string(::getuid()), .group = std::to_string(::getgid())};
  const mode_t before = ::umask(0);
  const auto listener = Listener::open(spec);
  ::umask(before);
  REQUIRE(listener);
  struct stat status{};
  REQUIRE(::lstat(folder.file("s").c_str(), &status) == 0);
  CHECK((status.st_mode & 07777) == 0640);
  CHECK(status.st_uid == ::getuid());
  CHECK(listener->is_local());
  for (const bool owner : {true, false}) {
    ListenSpec other{.endpoint = UnixEndpoint{folder.file("t")}};
    (owner ? other.file.owner : other.file.group) = "no-such-name";
    const auto none = Listener::open(other);
    REQUIRE_FALSE(none);
    CHECK(none.error().message.find("'no-such-name'") != std::string::npos);
    CHECK(::lstat(folder.file("t").c_str(), &status) != 0);
  }
}

TEST_CASE("a disk that isn't shown is as if it were not there") {
  auto reactor = Reactor::create();
  REQUIRE(reactor);
  MemoryExports all;
  for (const char* name : {"web", "web@one", "webs", "db", "db@one"}) all.add(**reactor, name, 4096);
  const Permissions permissions{.disks = {"web", "z*"}};
  PermittedExports some(all, permissions);
  const auto listed = run(**reactor, some.list());
  REQUIRE(listed);
  std::vector<std::string> names;
  for (const auto& info : *listed) names.push_back(info.name);
  CHECK(names == std::vector<std::string>{"web", "web@one"});
  CHECK(run(**reactor, some.describe("web@one")));
  const auto hidden = run(**reactor, some.describe("db"));
  const auto missing = run(**reactor, some.describe("zzz"));
  REQUIRE_FALSE(hidden);
  REQUIRE_FALSE(missing);
  CHECK(hidden.error().message == missing.error().message);
  CHECK(hidden.error().kind == missing.error().kind);
  CHECK_FALSE(run(**reactor, some.open("db", {})));
  CHECK_FALSE(run(**reactor, some.open_read_only("db", {})));
  CHECK_FALSE(run(**reactor, some.bases("db", 9)));
  CHECK_FALSE(run(**reactor, some.has_base("db@one")));
  CHECK_FALSE(run(**reactor, some.open_base("db@one", {})));
  CHECK(run(**reactor, some.has_base("web@one")));
  CHECK_FALSE(some.base_export("db", "one"));
}

TEST_CASE("on a read-only listener nothing is opened for writing") {
  auto reactor = Reactor::create();
  REQUIRE(reactor);
  MemoryExports all;
  all.add(**reactor, "web", 4096);
  const Permissions permissions{.read_only = true};
  PermittedExports some(all, permissions);
  CHECK(run(**reactor, some.list())->front().read_only);
  CHECK(run(**reactor, some.describe("web"))->read_only);
  const auto device = run(**reactor, some.open("web", {}));
  REQUIRE(device);
  CHECK((*device)->read_only());
}
