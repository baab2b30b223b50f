#include <catch2/catch.hpp>

#include "cli/attach_text.h"
#include "cli/image_name.h"
#include "cli/policy_text.h"
#include "cli/table.h"
#include "cli/time_text.h"
#include "coppice/store.h"

namespace coppice::cli {
namespace {

TEST_CASE("an image's name takes the place of 'the image'") {
  const Failure failure{ErrorKind::kIo, "the image: reading: it is gone"};
  CHECK(naming_image(failure, "web.raw", ImageSide::kSource).message == "image web.raw: reading: it is gone");
  CHECK(naming_image(failure, "-", ImageSide::kSource).message == "standard input: reading: it is gone");
  CHECK(naming_image(failure, "-", ImageSide::kTarget).message == "standard output: reading: it is gone");
  CHECK(naming_image({ErrorKind::kIo, "disk web: full"}, "x", ImageSide::kTarget).message ==
        "disk web: full");
}

TEST_CASE("times are RFC 3339 and come back") {
  CHECK(format_time(0) == "1970-01-01T00:00:00.000Z");
  CHECK(format_time(1'795'341'015'007) == "2026-11-22T09:50:15.007Z");
  CHECK(format_time(-1) == "1969-12-31T23:59:59.999Z");
  for (const std::int64_t time :
       {std::int64_t{0}, std::int64_t{1'795'341'015'007}, std::int64_t{-86'400'001}}) {
    CHECK(parse_time(format_time(time)) == time);
  }
}

TEST_CASE("what is no such time is refused") {
  for (const char* text : {"", "2026-11-22", "2026-11-22T09:50:15Z", "2026-11-22T09:50:15.007", "x",
                           "2026-11-22T09:50:15.007Zx", "2026-11-22T09:50:15.7Z"}) {
    CHECK_FALSE(parse_time(text).has_value());
  }
}

TEST_CASE("ages are what a person would say") {
  constexpr std::int64_t kNow = 10'000'000'000'000;
  const auto ago = [](std::int64_t seconds) { return format_age(kNow - seconds * 1000, kNow); };
  CHECK(ago(0) == "just now");
  CHECK(ago(-5) == "just now");
  CHECK(ago(1) == "1 second ago");
  CHECK(ago(59) == "59 seconds ago");
  CHECK(ago(60) == "1 minute ago");
  CHECK(ago(7200) == "2 hours ago");
  CHECK(ago(86'400 * 3) == "3 days ago");
  CHECK(ago(86'400 * 400) == "1 year ago");
}

TEST_CASE("a table aligns by characters, and columns that are empty vanish") {
  using enum Table::Align;
  Table table({kLeft, kRight, kLeft, kLeft});
  table.add({"● a", "1", "", "x"});
  table.add({"bcdef", "22"});
  CHECK(table.text() ==
        "● a     1  x\n"
        "bcdef  22\n");
}

TEST_CASE("names and specs") {
  CHECK(parse_spec("web")->text() == "web");
  CHECK(parse_spec("web@s1") == Spec{"web", "s1"});
  CHECK(parse_spec(std::string(255, 'a')).has_value());
  CHECK(parse_spec("A.b_c:d-9@0").has_value());
  for (const char* bad :
       {"", "@", "@s", "web@", "a b", "-a", ".a", "a@-s", "a@.s", "a@b@c", "a/b", "ä", "a\n"}) {
    const auto spec = parse_spec(bad);
    REQUIRE_FALSE(spec.has_value());
    CHECK(spec.error().kind == ErrorKind::kInvalid);
    CHECK(spec.error().message.find('\n') == std::string::npos);
  }
  CHECK_FALSE(parse_spec(std::string(256, 'a')).has_value());
}

TEST_CASE("QEMU's line doubles commas, keeps node names legal and is quoted for a shell") {
  const nbd::Endpoint plain = nbd::UnixEndpoint{"/s/nbd.sock"};
  CHECK(qemu_blockdev(plain, "web", false) ==
        "-blockdev driver=nbd,node-name=coppice-web,server.type=unix,server.path=/s/nbd.sock,export=web,"
        "reconnect-delay=30,discard=unmap");
  CHECK(
      qemu_blockdev(plain, "web@s1", true) ==
      "-blockdev driver=nbd,node-name=coppice-web-s1,server.type=unix,server.path=/s/nbd.sock,export=web@s1,"
      "reconnect-delay=30,read-only=on");
  const std::string odd = qemu_blockdev(nbd::UnixEndpoint{"/a b,c/n.sock"}, std::string(40, 'x'), false);
  CHECK(odd.starts_with("-blockdev 'driver=nbd,node-name=coppice-xxxxxxxxxxxxxxxxxxxxxxx,"));
  CHECK(odd.find("server.path=/a b,,c/n.sock,") != std::string::npos);
  CHECK(odd.ends_with("'"));
  const nbd::TcpEndpoint secured{"10.0.0.1", 10809, true};
  CHECK(qemu_blockdev(secured, "web", false).find(",tls-creds=tls0,") != std::string::npos);
  CHECK(libvirt_disk(secured, "web", false).find(" tls='yes'>") != std::string::npos);
  CHECK(libvirt_disk(plain, "web", false).find("tls") == std::string::npos);
  const std::string remote = qemu_blockdev(nbd::TcpEndpoint{"10.0.0.1", 10809}, "web", false);
  CHECK(remote.find("server.type=inet,server.host=10.0.0.1,server.port=10809") != std::string::npos);
}

TEST_CASE("libvirt's element escapes what XML needs") {
  const std::string xml = libvirt_disk(nbd::UnixEndpoint{"/a&b'<c"}, "web@s1", true);
  CHECK(xml.find("<source protocol='nbd' name='web@s1'>") != std::string::npos);
  CHECK(xml.find("socket='/a&amp;b&apos;&lt;c'") != std::string::npos);
  CHECK(xml.find("<readonly/>") != std::string::npos);
  CHECK(xml.find("<reconnect delay='30'/>") != std::string::npos);
  CHECK(libvirt_disk(nbd::TcpEndpoint{"h", 1}, "web", false).find("<host name='h' port='1'/>") !=
        std::string::npos);
}

TEST_CASE("a time that has passed is an age or a time of RFC 3339") {
  constexpr std::int64_t kNow = 1'700'000'000'000;
  CHECK(*parse_past("14d", kNow) == kNow - 14 * 86'400'000);
  CHECK(*parse_past("2001-01-01T00:00:00Z", kNow) == 978'307'200'000);
  for (const char* bad : {"", "never", "14", "0d", "yesterday"})
    CHECK_FALSE(parse_past(bad, kNow).has_value());
}

TEST_CASE("an end is never, a time from now, or a time of RFC 3339 to come") {
  constexpr std::int64_t kNow = 1'700'000'000'000;  // 2023-11-14T22:13:20Z
  CHECK(*parse_end("never", kNow) == 0);
  CHECK(*parse_end("1s", kNow) == kNow + 1'000);
  CHECK(*parse_end("90m", kNow) == kNow + 90 * 60'000);
  CHECK(*parse_end("72h", kNow) == kNow + 72 * 3'600'000);
  CHECK(*parse_end("14d", kNow) == kNow + 14 * 86'400'000);
  CHECK(*parse_end("4w", kNow) == kNow + 28 * std::int64_t{86'400'000});
  CHECK(*parse_end("2023-11-14T22:13:21Z", kNow) == kNow + 1'000);
  CHECK(*parse_end("2023-11-15T00:13:20.5+02:00", kNow) == kNow + 500);
  CHECK(*parse_end("2023-11-14T17:13:20.001-05:30", kNow) == kNow + 1'800'001);
  for (const char* bad : {"",
                          "h",
                          "0h",
                          "-1h",
                          "+1h",
                          "1",
                          "1.5h",
                          "1h ",
                          " 1h",
                          "1H",
                          "1y",
                          "99999999999999999999h",
                          "9223372036854775807w",
                          "soon",
                          "2023-11-14",
                          "2023-11-14T22:13:21",
                          "2023-11-14T22:13:21.Z",
                          "2023-11-14T22:13:21Zx",
                          "2023-11-14T22:13:21+2:00",
                          "2023-11-14T22:13:21+99:00"}) {
    CAPTURE(bad);
    CHECK_FALSE(parse_end(bad, kNow).has_value());
  }
  CHECK(parse_end("2023-11-14T22:13:20Z", kNow).error().message.find("has passed") != std::string::npos);
}

TEST_CASE("what is to come is told in the largest unit that fits") {
  CHECK(format_until(1'000, 1'000) == "now");
  CHECK(format_until(500, 1'000) == "now");
  CHECK(format_until(2'000, 1'000) == "in 1 second");
  CHECK(format_until(72 * 3'600'000, 5) == "in 3 days");
}

TEST_CASE("what keeps a snapshot and what ends it is told in one wording; old ones are warned of") {
  constexpr std::int64_t kDay = 86'400'000;
  constexpr std::int64_t kNow = 1000 * kDay;
  NodeInfo node;
  node.kind = NodeInfo::Kind::kSnapshot;
  node.disk = "web";
  node.snapshot = "a";
  node.created_unix_ms = kNow - 30 * kDay;
  CHECK(policy_text(node, kNow).empty());
  CHECK(old_snapshots_text({node}, kNow).empty());
  node.created_unix_ms -= 1;
  const std::string one = old_snapshots_text({node}, kNow);
  CHECK(one.starts_with("web@a was taken 1 month ago: snapshots are short-term tools, no backup"));
  CHECK(one.find('\n') == std::string::npos);
  NodeInfo older = node;
  older.snapshot = "b";
  older.created_unix_ms -= 40 * kDay;
  CHECK(old_snapshots_text({node, older}, kNow)
            .starts_with("2 snapshots are older than 30 days (the oldest, web@b"));
  NodeInfo head = older;
  head.kind = NodeInfo::Kind::kHead;
  NodeInfo held = older;
  held.holds = {"audit", "nightly"};
  NodeInfo ends = older;
  ends.expires_unix_ms = kNow + kDay;
  NodeInfo scheduled = older;
  scheduled.scheduled = true;
  CHECK(old_snapshots_text({head, held, ends, scheduled}, kNow).empty());
  held.expires_unix_ms = kNow + 2 * kDay;
  CHECK(policy_text(held, kNow) == "held by audit, nightly, expires in 2 days");
  CHECK(policy_text(scheduled, kNow) == "scheduled");
}

}  // namespace
}  // namespace coppice::cli
