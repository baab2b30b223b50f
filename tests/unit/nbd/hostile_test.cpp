// Clients that lie, stall, vanish or send noise: they harm nobody but themselves.
#include <catch2/catch.hpp>
#include <list>
#include <random>

#include "server_fixture.h"

using namespace coppice;
using namespace coppice::nbd;
using coppice::test::Bytes;
using coppice::test::eventually;
using coppice::test::joined;
using coppice::test::RawClient;
using coppice::test::ServerFixture;

namespace {

// The server is well if another client is served.
void check_well(ServerFixture& server) {
  const RawClient client(server.path());
  client.enter("disk", true);
  client.send(RawClient::request(Command::kFlush, 0, 0));
  CHECK(client.receive_error() == 0);
}

bool all_gone(ServerFixture& server) {
  return eventually([&] { return server.connections() == 0 && server.disk().attached == 0; });
}

using Random = std::independent_bits_engine<std::mt19937, 32, std::uint32_t>;

Bytes noise(Random& random, std::size_t bytes) {
  Bytes data(bytes);
  for (auto& byte : data) byte = static_cast<std::byte>(random());
  return data;
}

}  // namespace

TEST_CASE("a handshake that breaks the protocol ends") {
  ServerFixture server;
  SECTION("unknown client flags") {
    const RawClient client(server.path());
    client.greet(1 << 7);
    CHECK(client.ended());
  }
  SECTION("wrong option magic") {
    const RawClient client(server.path());
    client.greet();
    client.send(OptionHeader{.magic = kOptionMagic + 1, .code = 3, .length_bytes = 0});
    CHECK(client.ended());
  }
  SECTION("an option longer than anyone needs") {
    const RawClient client(server.path());
    client.greet();
    client.send(OptionHeader{.magic = kOptionMagic, .code = 7, .length_bytes = 0xffffffff});
    CHECK(client.ended());
  }
  SECTION("EXPORT_NAME with a name that is too long") {
    const RawClient client(server.path());
    client.greet();
    client.send_option(OptionCode::kExportName, Bytes(4097, std::byte{'x'}));
    CHECK(client.ended());
  }
  SECTION("hanging up at every byte of an honest handshake") {
    const Bytes honest =
        joined(Big32(3), OptionHeader{.magic = kOptionMagic, .code = 7, .length_bytes = 10},
               RawClient::export_payload("disk"), RawClient::request(Command::kWrite, 0, 4), Bytes(4));
    for (std::size_t length = 0; length <= honest.size(); ++length) {
      const RawClient client(server.path());
      REQUIRE(client.try_send(std::span(honest).first(length)));
    }
  }
  CHECK(all_gone(server));
  check_well(server);
}

TEST_CASE("an option that is too long, but not absurd, is refused and skipped") {
  ServerFixture server;
  const RawClient client(server.path());
  client.greet();
  client.send_option(OptionCode::kGo, Bytes(200'000));
  CHECK(client.receive_reply().code == OptionReplyCode::kErrorTooBig);
  client.send_option(77, Bytes(60'000));
  CHECK(client.receive_reply().code == OptionReplyCode::kErrorUnsupported);
  client.send_option(OptionCode::kGo, Bytes(3));
  CHECK(client.receive_reply().code == OptionReplyCode::kErrorInvalid);
  client.send_option(OptionCode::kAbort);
  CHECK(client.receive_reply().code == OptionReplyCode::kAck);
}

TEST_CASE("a client that never comes to the point is cut off") {
  ServerFixture server({.limits = {.handshake_step = std::chrono::milliseconds(1500)}});
  const RawClient mute(server.path());
  const RawClient halfway(server.path());
  halfway.greet();
  halfway.send(Big32(0x49484156));
  const RawClient honest(server.path());
  honest.enter("disk", true);
  CHECK(mute.receive_some(1000).size() == sizeof(Greeting));
  CHECK(halfway.ended());
  CHECK(eventually([&] { return server.connections() == 1; }));
  CHECK(server.log().find("handshake took too long") != std::string::npos);
  std::this_thread::sleep_for(std::chrono::milliseconds(1700));
  honest.send(RawClient::request(Command::kFlush, 0, 0));
  CHECK(honest.receive_error() == 0);
}

TEST_CASE("a client that stalls within a payload holds up nobody, and its write never starts") {
  ServerFixture server;
  const RawClient staller(server.path());
  staller.enter("disk", true);
  staller.send(RawClient::request(Command::kWrite, 0, 1 << 20), Bytes(1000, std::byte{0xee}));
  check_well(server);
  CHECK(server.disk().started == 1);  // the flush of the other client
  SECTION("it hangs up") {
    staller.shut_sending();
  }
  SECTION("the server stops") {
    server.begin_stop();
  }
  CHECK(staller.ended());
  CHECK(eventually([&] { return server.disk().attached == 0; }));
  server.stop();
  CHECK(server.disk().content()[0] == std::byte{0});
}

TEST_CASE("a request with a wrong magic ends the connection, after what came before was answered") {
  ServerFixture server;
  const RawClient client(server.path());
  client.enter("disk", true);
  auto wrong = RawClient::request(Command::kRead, 0, 512);
  wrong.magic = 0xdeadbeef;
  client.send(RawClient::request(Command::kFlush, 0, 0), wrong);
  CHECK(client.receive_error() == 0);
  CHECK(client.ended());
  CHECK(server.disk().attached == 0);
}

TEST_CASE("a client that doesn't read its replies stops being read from, and can be stopped") {
  ServerFixture server({.limits = {.drain = std::chrono::milliseconds(300)}});
  const RawClient client(server.path());
  client.enter("disk", true);
  std::thread sender([&] {
    const auto request = RawClient::request(Command::kRead, 0, 1 << 20);
    for (int count = 0; count < 200'000; ++count) {
      if (!client.try_send(bytes_of(request))) break;
    }
  });
  CHECK(eventually([&] { return server.disk().started >= 8; }));
  std::this_thread::sleep_for(std::chrono::milliseconds(300));
  // 8 MiB are held back; a few more were sent before the socket was full.
  CHECK(server.disk().started < 24);
  check_well(server);
  server.stop();
  CHECK(server.log().find("did not take its replies") != std::string::npos);
  CHECK(server.disk().attached == 0);
  sender.join();
}

TEST_CASE("a request that is larger than what may wait is served alone") {
  constexpr std::uint32_t kLarge = 32 << 20;
  ServerFixture server;
  const RawClient client(server.path());
  client.enter("disk", true);
  server.close_gate();
  const Bytes written(kLarge, std::byte{7});
  bool sent = false;
  std::thread sender([&] {
    sent = client.try_send(joined(RawClient::request(Command::kRead, 0, 4096),
                                  RawClient::request(Command::kWrite, 0, kLarge), written,
                                  RawClient::request(Command::kRead, 0, kLarge)));
  });
  CHECK(eventually([&] { return server.disk().started == 1; }));
  std::this_thread::sleep_for(std::chrono::milliseconds(100));
  CHECK(server.disk().started == 1);
  server.open_gate();
  CHECK(client.receive_chunk(ChunkType::kOffsetData).size() == sizeof(Big64) + 4096);
  CHECK(client.receive_error() == 0);
  CHECK(client.receive_chunk(ChunkType::kOffsetData).size() == sizeof(Big64) + kLarge);
  sender.join();
  CHECK(sent);
  CHECK((server.content(0, kLarge) == written));
}

TEST_CASE("clients beyond the limit are told so until others leave") {
  ServerFixture server({.limits = {.max_connections = 2}});
  RawClient first(server.path());
  const RawClient second(server.path());
  first.greet();
  second.greet();
  const RawClient third(server.path());
  third.greet();
  third.send_option(OptionCode::kGo, RawClient::export_payload("disk"));
  const auto refusal = third.receive_reply();
  CHECK(refusal.code == OptionReplyCode::kErrorPolicy);
  CHECK(refusal.text().find("2 clients") != std::string::npos);
  third.send_option(OptionCode::kExportName, test::bytes_of_text("disk"));
  CHECK(third.ended());
  // More of them, and more than are told so at once: the log has one line, and those with a place keep it.
  std::list<RawClient> crowd;
  for (std::size_t count = 0; count < 2 * kMaxRefusals; ++count) crowd.emplace_back(server.path());
  CHECK(eventually([&] { return server.connections() == 2 + kMaxRefusals; }));
  const std::string log = server.log();
  CHECK(log.find("2 clients are here") == log.rfind("2 clients are here"));
  second.send_option(OptionCode::kAbort);
  CHECK(second.receive_reply().code == OptionReplyCode::kAck);
  first.hang_up();
  crowd.clear();
  CHECK(eventually([&] { return server.connections() == 0; }));
  check_well(server);
}

TEST_CASE("a client that takes a step now and then is cut off when all of them take too long") {
  ServerFixture server({.limits = {.handshake_whole = std::chrono::milliseconds(1000)}});
  const RawClient slow(server.path());
  slow.greet();
  const OptionHeader list{.magic = kOptionMagic, .code = 3, .length_bytes = 0};
  int steps = 0;
  for (; steps < 60 && slow.try_send(bytes_of(list)); ++steps)
    std::this_thread::sleep_for(std::chrono::milliseconds(100));
  CHECK(steps > 5);
  CHECK(steps < 60);
  CHECK(server.log().find("handshake took too long") != std::string::npos);
}

TEST_CASE("a client that asks for nothing is cut off, where that is wanted; one that waits for us is not") {
  ServerFixture server({.limits = {.idle = std::chrono::milliseconds(600)}});
  const RawClient idle(server.path());
  idle.enter("disk", true);
  CHECK(idle.ended());
  CHECK(server.log().find("idle for longer") != std::string::npos);
  server.close_gate();
  const RawClient waiting(server.path());
  waiting.enter("disk", true);
  waiting.send(RawClient::request(Command::kRead, 0, 4096));
  CHECK(eventually([&] { return server.disk().started != 0; }));
  std::this_thread::sleep_for(std::chrono::milliseconds(1500));
  CHECK(server.connections() == 1);
  server.open_gate();
  CHECK(waiting.receive_chunk(ChunkType::kOffsetData).size() == 4096 + sizeof(Big64));
  CHECK(waiting.ended());
}

TEST_CASE("clients that vanish with requests in flight leave nothing behind") {
  ServerFixture server;
  for (int round = 0; round < 30; ++round) {
    RawClient client(server.path());
    client.enter("disk", true);
    for (std::uint64_t index = 0; index < 20; ++index) {
      client.send(RawClient::request(Command::kWrite, index * 4096, 4096, 0, index), Bytes(4096),
                  RawClient::request(Command::kRead, 0, 1 << 20, 0, 100 + index));
    }
    client.hang_up();
  }
  CHECK(all_gone(server));
  check_well(server);
}

TEST_CASE("noise in the handshake harms nobody") {
  ServerFixture server;
  Random random(1234);
  for (std::uint32_t round = 0; round < 400; ++round) {
    const RawClient client(server.path());
    Bytes bytes = joined(Big32(round % 4));
    for (int option = 0; option < 8; ++option) {
      const Bytes payload = noise(random, random() % 200);
      const std::uint32_t length = random() % 10 == 0 ? random() : static_cast<std::uint32_t>(payload.size());
      bytes = joined(
          bytes, OptionHeader{.magic = kOptionMagic, .code = random() % 12, .length_bytes = length}, payload);
    }
    if (round % 5 == 0) bytes = noise(random, 300);
    static_cast<void>(client.try_send(bytes));
    if (round % 2 == 0) {
      client.shut_sending();
      CHECK(client.receive_some(1 << 20).size() < 1 << 20);
    }
  }
  CHECK(all_gone(server));
  check_well(server);
}

TEST_CASE("noise in the transmission phase harms nobody") {
  ServerFixture server;
  Random random(4321);
  for (int round = 0; round < 300; ++round) {
    const RawClient client(server.path());
    client.enter(round % 3 == 0 ? "disk@snap" : "disk", round % 2 == 0);
    Bytes bytes;
    for (int index = 0; index < 30; ++index) {
      const auto command = static_cast<Command>(random() % 10);
      const std::uint64_t offset = random() % 8 == 0 ? ~std::uint64_t{random()} : random() % (65 << 20);
      const std::uint32_t length = random() % 20 == 0 ? random() : random() % 10'000;
      const auto flags = static_cast<std::uint16_t>(random() % 3 == 0 ? random() : 0);
      bytes = joined(bytes, RawClient::request(command, offset, length, flags, random()));
      if (command == Command::kWrite) bytes = joined(bytes, Bytes(std::min(length, 20'000U)));
    }
    if (round % 7 == 0) bytes = joined(noise(random, 27 + random() % 300), bytes);
    std::thread sender([&] {
      static_cast<void>(client.try_send(bytes));
      client.shut_sending();
    });
    while (client.receive_some(1 << 16).size() == 1 << 16) {
    }
    sender.join();
  }
  CHECK(all_gone(server));
  check_well(server);
}
