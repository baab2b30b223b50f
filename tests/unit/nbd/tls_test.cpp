// STARTTLS and what follows: who is let in, what is forgotten, what is never used, and that a disk behind TLS
// is the same.
#include <catch2/catch.hpp>
#include <fstream>

#include "nbd/tls_credentials.h"
#include "server_fixture.h"
#include "tls_client.h"

using namespace coppice;
using namespace coppice::nbd;
using coppice::test::Bytes;
using coppice::test::eventually;
using coppice::test::joined;
using coppice::test::RawClient;
using coppice::test::ServerFixture;
using coppice::test::TemporaryFolder;
using coppice::test::TlsClient;

namespace {

class TlsFixture {
 public:
  explicit TlsFixture(TlsMode mode = TlsMode::kRequire, Limits limits = {})
      : server_({.limits = limits, .credentials = keys()}, mode) {}
  ServerFixture* operator->() { return &server_; }
  [[nodiscard]] const std::string& path() const { return server_.path(); }
  bool logs(const std::string& text) {
    return eventually([&] { return server_.log().find(text) != std::string::npos; });
  }
  bool all_gone() {
    return eventually([&] { return server_.connections() == 0 && server_.disk().attached == 0; });
  }

 private:
  std::shared_ptr<const TlsCredentials> keys() {
    const std::string file = folder_.file("keys.psk");
    std::ofstream(file) << "alice:" << test::kKey << "\n";
    auto loaded = TlsCredentials::load({.psk_file = file});
    REQUIRE(loaded);
    return std::move(*loaded);
  }
  TemporaryFolder folder_;
  ServerFixture server_;
};

OptionHeader option(OptionCode code, std::size_t length = 0) {
  return {.magic = kOptionMagic,
          .code = static_cast<std::uint32_t>(code),
          .length_bytes = static_cast<std::uint32_t>(length)};
}

// In TLS: the code of the reply, and what is in it.
RawClient::OptionReply reply_through(TlsClient& tls) {
  OptionReplyHeader header;
  REQUIRE(tls.receive(std::as_writable_bytes(std::span(&header, 1))));
  REQUIRE(header.magic == kOptionReplyMagic);
  Bytes payload(header.length_bytes);
  REQUIRE(tls.receive(payload));
  return {static_cast<OptionReplyCode>(std::uint32_t{header.code}), payload};
}

template <class... Parts>
void send_through(TlsClient& tls, const Parts&... parts) {
  const Bytes bytes = joined(parts...);
  REQUIRE(tls.send(bytes));
}

void start_tls(const RawClient& client, TlsClient& tls) {
  client.greet();
  client.send_option(OptionCode::kStartTls);
  REQUIRE(client.receive_reply().code == OptionReplyCode::kAck);
  REQUIRE(tls.handshake() == 0);
}

void enter(const RawClient& client, TlsClient& tls) {
  start_tls(client, tls);
  const Bytes go = RawClient::export_payload("disk");
  send_through(tls, option(OptionCode::kGo, go.size()), go);
  REQUIRE(reply_through(tls).code == OptionReplyCode::kInfo);
  REQUIRE(reply_through(tls).code == OptionReplyCode::kInfo);
  REQUIRE(reply_through(tls).code == OptionReplyCode::kAck);
}

std::uint32_t simple_error(TlsClient& tls) {
  SimpleReply reply;
  REQUIRE(tls.receive(std::as_writable_bytes(std::span(&reply, 1))));
  REQUIRE(reply.magic == kSimpleReplyMagic);
  return reply.error;
}

}  // namespace

TEST_CASE("where TLS is required, nothing else is answered before it") {
  TlsFixture server;
  {
    const RawClient client(server.path());
    client.greet();
    for (const std::uint32_t code : {3U, 6U, 7U, 8U, 10U, 99U}) {
      client.send_option(code, code == 6 || code == 7 ? RawClient::export_payload("disk") : Bytes());
      CHECK(client.receive_reply().code == OptionReplyCode::kErrorTlsRequired);
    }
    client.send_option(OptionCode::kGo, Bytes(kMaxOptionBytes + 1));
    CHECK(client.receive_reply().code == OptionReplyCode::kErrorTlsRequired);
    client.send_option(OptionCode::kAbort);
    CHECK(client.receive_reply().code == OptionReplyCode::kAck);
    CHECK(client.ended());
  }
  CHECK(server.logs("TLS, which is required here"));
  const RawClient by_name(server.path());
  by_name.greet();
  by_name.send_option(OptionCode::kExportName, test::bytes_of_text("disk"));
  CHECK(by_name.ended());
  // A client of the old kind can't be told of TLS, and so gets nothing.
  const RawClient old(server.path());
  old.greet(kClientFlagNoZeroes);
  old.send_option(OptionCode::kStartTls);
  CHECK(old.receive_reply().code == OptionReplyCode::kErrorTlsRequired);
  CHECK(server->disk().attached == 0);
}

TEST_CASE("where TLS is off, who asks for it is told, and may go on without") {
  TlsFixture server(TlsMode::kOff);
  const RawClient client(server.path());
  client.greet();
  client.send_option(OptionCode::kStartTls);
  CHECK(client.receive_reply().code == OptionReplyCode::kErrorPolicy);
  client.send_option(OptionCode::kGo, RawClient::export_payload("disk"));
  CHECK(client.receive_reply().code == OptionReplyCode::kInfo);
  RawClient leaves(server.path());
  leaves.greet();
  leaves.send_option(OptionCode::kStartTls);
  CHECK(leaves.receive_reply().code == OptionReplyCode::kErrorPolicy);
  leaves.hang_up();
  CHECK(server.logs("it asked for TLS, which this listener does without"));
}

TEST_CASE("where TLS is on, it is the client's choice") {
  TlsFixture server(TlsMode::kOn);
  const RawClient plain(server.path());
  plain.enter("disk", true);
  const RawClient client(server.path());
  TlsClient tls(client.socket(), "alice");
  enter(client, tls);
  CHECK(server->disk().attached == 2);
}

TEST_CASE("nothing that came in the clear is used after STARTTLS") {
  TlsFixture server(TlsMode::kOn);
  SECTION("in one piece with it") {
    const RawClient client(server.path());
    client.greet();
    client.send(option(OptionCode::kStartTls), option(OptionCode::kList));
    CHECK(client.ended());
    CHECK(server.logs("in the clear behind STARTTLS"));
  }
  SECTION("behind its answer") {
    const RawClient client(server.path());
    client.greet();
    client.send_option(OptionCode::kStartTls);
    REQUIRE(client.receive_reply().code == OptionReplyCode::kAck);
    client.send(option(OptionCode::kList), Bytes(64));
    // An alert at most, and no list.
    const Bytes answer = client.receive_some(4096);
    CHECK(answer.size() < sizeof(OptionReplyHeader));
    CHECK(server.logs("what the client sent is not TLS"));
  }
  CHECK(server.all_gone());
}

TEST_CASE("nothing that was agreed on in the clear holds after STARTTLS") {
  TlsFixture server(TlsMode::kOn);
  const RawClient client(server.path());
  client.greet();
  client.send_option(OptionCode::kStructuredReply);
  REQUIRE(client.receive_reply().code == OptionReplyCode::kAck);
  const Bytes contexts = RawClient::context_payload("disk", {"base:allocation"});
  client.send_option(OptionCode::kSetMetaContext, contexts);
  REQUIRE(client.receive_reply().code == OptionReplyCode::kMetaContext);
  REQUIRE(client.receive_reply().code == OptionReplyCode::kAck);
  client.send_option(OptionCode::kStartTls, Bytes(1));
  CHECK(client.receive_reply().code == OptionReplyCode::kErrorInvalid);
  client.send_option(OptionCode::kStartTls);
  REQUIRE(client.receive_reply().code == OptionReplyCode::kAck);
  TlsClient tls(client.socket(), "alice");
  REQUIRE(tls.handshake() == 0);
  send_through(tls, option(OptionCode::kSetMetaContext, contexts.size()), contexts);
  CHECK(reply_through(tls).code == OptionReplyCode::kErrorInvalid);
  send_through(tls, option(OptionCode::kStartTls));
  CHECK(reply_through(tls).code == OptionReplyCode::kErrorInvalid);
  // Structured replies, agreed on anew; the contexts are still not.
  send_through(tls, option(OptionCode::kStructuredReply));
  CHECK(reply_through(tls).code == OptionReplyCode::kAck);
  const Bytes go = RawClient::export_payload("disk");
  send_through(tls, option(OptionCode::kGo, go.size()), go);
  for (int replies = 0; replies < 3; ++replies) reply_through(tls);
  send_through(tls, RawClient::request(Command::kBlockStatus, 0, 4096));
  ChunkHeader chunk;
  REQUIRE(tls.receive(std::as_writable_bytes(std::span(&chunk, 1))));
  CHECK(chunk.type == static_cast<std::uint16_t>(ChunkType::kError));
}

TEST_CASE("a disk behind TLS is the same disk") {
  TlsFixture server;
  const RawClient client(server.path());
  TlsClient tls(client.socket(), "alice");
  enter(client, tls);
  constexpr std::uint32_t kBytes = 5'000'001;
  Bytes data(kBytes);
  for (std::size_t index = 0; index < kBytes; ++index) data[index] = static_cast<std::byte>(index * 31 >> 3);
  send_through(tls, RawClient::request(Command::kWrite, 4097, kBytes), data);
  CHECK(simple_error(tls) == 0);
  CHECK(server->content(4097, kBytes) == data);
  send_through(tls, RawClient::request(Command::kRead, 4097, kBytes));
  CHECK(simple_error(tls) == 0);
  Bytes back(kBytes);
  REQUIRE(tls.receive(back));
  CHECK(back == data);
  // What was asked for before the goodbye is done, and then the disk is let go.
  send_through(tls, RawClient::request(Command::kWrite, 0, 4096), Bytes(4096, std::byte{7}),
               RawClient::request(Command::kDisconnect, 0, 0));
  CHECK(simple_error(tls) == 0);
  Bytes one(1);
  CHECK_FALSE(tls.receive(one));
  CHECK(server->disk().attached == 0);
  CHECK(server->content(0, 4096) == Bytes(4096, std::byte{7}));
  CHECK(server.all_gone());
  CHECK(server->log().find("TLS") == std::string::npos);
}

TEST_CASE("who isn't known, or has another key, costs a connection and a line") {
  TlsFixture server;
  const auto [user, key] = GENERATE(table<std::string, std::string>(
      {{"mallory", test::kKey}, {"alice", "ffffffffffffffffffffffffffffffff"}}));
  const RawClient client(server.path());
  client.greet();
  client.send_option(OptionCode::kStartTls);
  REQUIRE(client.receive_reply().code == OptionReplyCode::kAck);
  TlsClient tls(client.socket(), user, key);
  CHECK(tls.handshake() < 0);
  CHECK(server.logs("user '" + user + (user == "alice" ? "' has another key" : "' is not in")));
  CHECK(server.all_gone());
  const RawClient good(server.path());
  TlsClient other(good.socket(), "alice");
  enter(good, other);
}

TEST_CASE("a client that stops within the TLS handshake is cut off; one that leaves is let go") {
  TlsFixture server(TlsMode::kRequire, {.handshake_step = std::chrono::milliseconds(700)});
  const RawClient mute(server.path());
  mute.greet();
  mute.send_option(OptionCode::kStartTls);
  REQUIRE(mute.receive_reply().code == OptionReplyCode::kAck);
  mute.send(Big32(0x16030100));  // the beginning of a record
  {
    const RawClient leaves(server.path());
    leaves.greet();
    leaves.send_option(OptionCode::kStartTls);
    REQUIRE(leaves.receive_reply().code == OptionReplyCode::kAck);
  }
  CHECK(server.logs("left during the TLS handshake"));
  CHECK(mute.ended());
  CHECK(server.logs("handshake took too long"));
  CHECK(server.all_gone());
}

TEST_CASE("a client that doesn't read through TLS is not read from, harms nobody, and can be stopped") {
  TlsFixture server(TlsMode::kOn, {.drain = std::chrono::milliseconds(300)});
  const RawClient client(server.path());
  TlsClient tls(client.socket(), "alice");
  enter(client, tls);
  std::thread sender([&] {
    const auto request = RawClient::request(Command::kRead, 0, 1 << 20);
    for (int count = 0; count < 200'000; ++count) {
      if (!tls.send(bytes_of(request))) break;
    }
  });
  CHECK(eventually([&] { return server->disk().started >= 8; }));
  std::this_thread::sleep_for(std::chrono::milliseconds(300));
  CHECK(server->disk().started < 24);
  const RawClient other(server.path());
  other.enter("disk", true);
  other.send(RawClient::request(Command::kFlush, 0, 0));
  CHECK(other.receive_error() == 0);
  server->stop();
  CHECK(server->log().find("did not take its replies") != std::string::npos);
  sender.join();
}

TEST_CASE("a stop answers through TLS what is in flight") {
  TlsFixture server;
  const RawClient client(server.path());
  TlsClient tls(client.socket(), "alice");
  enter(client, tls);
  server->close_gate();
  send_through(tls, RawClient::request(Command::kWrite, 0, 4096), Bytes(4096, std::byte{9}));
  CHECK(eventually([&] { return server->disk().started != 0; }));
  server->begin_stop();
  std::this_thread::sleep_for(std::chrono::milliseconds(200));
  server->open_gate();
  CHECK(simple_error(tls) == 0);
  Bytes one(1);
  CHECK_FALSE(tls.receive(one));
  server->stop();
}

TEST_CASE("keys that can't be used are refused with the file and the reason") {
  TemporaryFolder folder;
  const auto refused = [](const TlsOptions& options, const std::string& word) {
    const auto loaded = TlsCredentials::load(options);
    REQUIRE_FALSE(loaded);
    INFO(loaded.error().message);
    CHECK(loaded.error().message.find(word) != std::string::npos);
  };
  const std::string file = folder.file("keys");
  refused({.psk_file = file}, file);
  std::ofstream(file) << "\n";
  refused({.psk_file = file}, "no keys");
  std::ofstream(file) << "alice:" << test::kKey << "\nbob:xyz\n";
  refused({.psk_file = file}, "line 2");
  refused({.psk_file = file, .verify_peer = true}, "--tls-certificates");
  refused({.certificates = folder.file("none")}, "server-cert.pem");
}
