// The server as an honest client finds it: handshake, every command, durability flags, errors, leaving.
#include <catch2/catch.hpp>

#include "server_fixture.h"

using namespace coppice;
using namespace coppice::nbd;
using coppice::test::Bytes;
using coppice::test::eventually;
using coppice::test::joined;
using coppice::test::RawClient;
using coppice::test::ServerFixture;

namespace {

Bytes pattern(std::size_t bytes, unsigned seed) {
  Bytes data(bytes);
  for (std::size_t index = 0; index < bytes; ++index) data[index] = static_cast<std::byte>(index * 7 + seed);
  return data;
}

Bytes read_back(const RawClient& client, std::uint64_t offset, std::uint32_t length) {
  client.send(RawClient::request(Command::kRead, offset, length));
  Bytes payload = client.receive_chunk(ChunkType::kOffsetData);
  REQUIRE(decode<Big64>(payload) == offset);
  payload.erase(payload.begin(), payload.begin() + sizeof(Big64));
  return payload;
}

std::uint32_t write(const RawClient& client, std::uint64_t offset, const Bytes& data,
                    std::uint16_t flags = 0) {
  client.send(RawClient::request(Command::kWrite, offset, static_cast<std::uint32_t>(data.size()), flags),
              data);
  return client.receive_error();
}

std::uint32_t ask(const RawClient& client, Command command, std::uint64_t offset, std::uint32_t length,
                  std::uint16_t flags = 0) {
  client.send(RawClient::request(command, offset, length, flags));
  return client.receive_error();
}

using Status = std::vector<std::pair<std::uint32_t, std::uint32_t>>;

Status block_status(const RawClient& client, std::uint64_t offset, std::uint32_t length,
                    std::uint16_t flags = 0) {
  client.send(RawClient::request(Command::kBlockStatus, offset, length, flags));
  const Bytes payload = client.receive_chunk(ChunkType::kBlockStatus);
  REQUIRE(decode<Big32>(payload) == kBaseAllocationId);
  Status status;
  for (std::size_t at = sizeof(Big32); at < payload.size(); at += sizeof(StatusDescriptor)) {
    const auto descriptor = decode<StatusDescriptor>(std::span(payload).subspan(at));
    status.emplace_back(descriptor.length_bytes, descriptor.state);
  }
  return status;
}

constexpr std::uint32_t kHole = kStateHole | kStateZero;

}  // namespace

TEST_CASE("an export is entered with GO, and its holder is known") {
  ServerFixture server;
  const RawClient client(server.path());
  const auto info = client.enter("disk", true);
  CHECK(info.size_bytes == ServerFixture::kDiskBytes);
  CHECK((info.flags & kReadOnly) == 0);
  CHECK(server.disk().attached == 1);
  CHECK(server.last_holder() == "nbd client pid " + std::to_string(::getpid()));
}

TEST_CASE("an export is entered with EXPORT_NAME, with and without zeroes") {
  ServerFixture server;
  const bool no_zeroes = GENERATE(true, false);
  const RawClient client(server.path());
  client.greet(kClientFlagFixedNewstyle | (no_zeroes ? kClientFlagNoZeroes : 0));
  client.send_option(OptionCode::kExportName, test::bytes_of_text("disk"));
  const auto reply = client.receive<ExportNameReply>();
  CHECK(reply.size_bytes == ServerFixture::kDiskBytes);
  if (!no_zeroes) CHECK(client.receive_bytes(kExportNameZeroes) == Bytes(kExportNameZeroes));
  client.send(RawClient::request(Command::kRead, 0, 4096));
  const auto simple = client.receive<SimpleReply>();
  CHECK(simple.magic == kSimpleReplyMagic);
  CHECK(simple.error == 0);
  CHECK(client.receive_bytes(4096) == Bytes(4096));
}

TEST_CASE("an export that isn't there: GO says so and goes on, EXPORT_NAME hangs up") {
  ServerFixture server;
  const RawClient client(server.path());
  client.greet();
  for (const char* name : {"nothing", ""}) {
    client.send_option(OptionCode::kGo, RawClient::export_payload(name));
    const auto reply = client.receive_reply();
    CHECK(reply.code == OptionReplyCode::kErrorUnknown);
    CHECK_FALSE(reply.text().empty());
  }
  client.send_option(OptionCode::kExportName, test::bytes_of_text("nothing"));
  CHECK(client.ended());
}

TEST_CASE("LIST names each export with its description") {
  ServerFixture server;
  const RawClient client(server.path());
  client.greet();
  client.send_option(OptionCode::kList);
  const auto first = client.receive_reply();
  CHECK(first.code == OptionReplyCode::kServer);
  CHECK(first.payload == joined(Big32(4), test::bytes_of_text("diskdisk disk in memory")));
  CHECK(client.receive_reply().code == OptionReplyCode::kServer);
  CHECK(client.receive_reply().code == OptionReplyCode::kAck);
}

TEST_CASE("INFO tells about an export without attaching it") {
  ServerFixture server;
  const RawClient client(server.path());
  client.greet();
  client.send_option(OptionCode::kInfo,
                     RawClient::export_payload("disk@snap", {InfoCode::kName, InfoCode::kDescription}));
  const auto shape = decode<InfoExport>(client.receive_reply().payload);
  CHECK((shape.flags & kReadOnly) != 0);
  const auto sizes = decode<InfoBlockSize>(client.receive_reply().payload);
  CHECK(sizes.minimum == 1);
  CHECK(sizes.preferred == 4096);
  CHECK(sizes.maximum == 32 << 20);
  CHECK(client.receive_reply().payload == joined(Big16(1), test::bytes_of_text("disk@snap")));
  CHECK(client.receive_reply().payload == joined(Big16(2), test::bytes_of_text("disk disk@snap in memory")));
  CHECK(client.receive_reply().code == OptionReplyCode::kAck);
  CHECK(server.disk().attached == 0);
  client.send_option(OptionCode::kAbort);
  CHECK(client.receive_reply().code == OptionReplyCode::kAck);
  CHECK(client.ended());
}

TEST_CASE("contexts need structured replies, and count for the export they were chosen for") {
  ServerFixture server;
  const RawClient client(server.path());
  client.greet();
  client.send_option(OptionCode::kSetMetaContext, RawClient::context_payload("disk", {"base:allocation"}));
  CHECK(client.receive_reply().code == OptionReplyCode::kErrorInvalid);
  client.send_option(OptionCode::kStructuredReply);
  CHECK(client.receive_reply().code == OptionReplyCode::kAck);
  client.send_option(OptionCode::kListMetaContext, RawClient::context_payload("disk", {}));
  CHECK(client.receive_reply().payload == joined(Big32(0), test::bytes_of_text("base:allocation")));
  CHECK(client.receive_reply().payload == joined(Big32(0), test::bytes_of_text("qemu:allocation-depth")));
  CHECK(client.receive_reply().payload == joined(Big32(0), test::bytes_of_text("qemu:dirty-bitmap:snap")));
  CHECK(client.receive_reply().code == OptionReplyCode::kAck);
  client.send_option(OptionCode::kSetMetaContext, RawClient::context_payload("none", {"base:allocation"}));
  CHECK(client.receive_reply().code == OptionReplyCode::kErrorUnknown);
  client.send_option(OptionCode::kSetMetaContext,
                     RawClient::context_payload("disk@snap", {"base:allocation"}));
  CHECK(client.receive_reply().code == OptionReplyCode::kMetaContext);
  CHECK(client.receive_reply().code == OptionReplyCode::kAck);
  client.send_option(OptionCode::kGo, RawClient::export_payload("disk"));
  for (int count = 0; count < 3; ++count) static_cast<void>(client.receive_reply());
  CHECK(ask(client, Command::kBlockStatus, 0, 4096) == 22);
}

TEST_CASE("what changed since a snapshot is told beside the allocation, and the snapshot is attached") {
  ServerFixture server;
  server.set_changes({{8192, 4096, false}, {65536, 8192, true}});
  const RawClient client(server.path());
  client.greet();
  client.send_option(OptionCode::kStructuredReply);
  CHECK(client.receive_reply().code == OptionReplyCode::kAck);
  client.send_option(OptionCode::kSetMetaContext,
                     RawClient::context_payload(
                         "disk", {"qemu:dirty-bitmap:none", "qemu:dirty-bitmap:snap", "base:allocation"}));
  CHECK(client.receive_reply().payload == joined(Big32(1), test::bytes_of_text("base:allocation")));
  CHECK(client.receive_reply().payload == joined(Big32(3), test::bytes_of_text("qemu:dirty-bitmap:snap")));
  CHECK(client.receive_reply().code == OptionReplyCode::kAck);
  client.send_option(OptionCode::kGo, RawClient::export_payload("disk"));
  for (int count = 0; count < 3; ++count) static_cast<void>(client.receive_reply());
  CHECK(server.attached_to_snapshot() == 1);

  const auto receive_status = [&client](bool last) {
    const auto chunk = client.receive<ChunkHeader>();
    CHECK((chunk.flags == kChunkDone) == last);
    return client.receive_bytes(chunk.length_bytes);
  };
  client.send(RawClient::request(Command::kBlockStatus, 0, 131072));
  CHECK(receive_status(false) == joined(Big32(1), Big32(131072), Big32(kHole)));
  CHECK(receive_status(true) == joined(Big32(3), Big32(8192), Big32(0), Big32(4096), Big32(1), Big32(53248),
                                       Big32(0), Big32(8192), Big32(1), Big32(57344), Big32(0)));
  // The same pass goes on; another one looks again, since the disk can be written.
  client.send(RawClient::request(Command::kBlockStatus, 131072, 4096));
  static_cast<void>(receive_status(false)), static_cast<void>(receive_status(true));
  CHECK(server.asked_for_changes() == 1);
  client.send(RawClient::request(Command::kBlockStatus, 0, 4096));
  static_cast<void>(receive_status(false)), static_cast<void>(receive_status(true));
  CHECK(server.asked_for_changes() == 2);
}

TEST_CASE("what is written is read, at any offset and length, by every client") {
  ServerFixture server;
  const RawClient writer(server.path());
  const RawClient reader(server.path());
  writer.enter("disk", true);
  reader.enter("disk", true);
  const std::vector<std::pair<std::uint64_t, std::size_t>> ranges = {{0, 4096},
                                                                     {1, 1},
                                                                     {4095, 2},
                                                                     {12345, 54321},
                                                                     {1 << 20, 1 << 20},
                                                                     {8 << 20, 32 << 20},
                                                                     {ServerFixture::kDiskBytes - 1, 1}};
  for (const auto& [offset, length] : ranges) {
    const Bytes data = pattern(length, static_cast<unsigned>(offset));
    REQUIRE(write(writer, offset, data) == 0);
    CHECK((read_back(reader, offset, static_cast<std::uint32_t>(length)) == data));
    CHECK((server.content(offset, length) == data));
  }
  CHECK(server.disk().misaligned_buffers == 0);
}

TEST_CASE("many requests in one piece, and one request in many pieces") {
  ServerFixture server;
  const RawClient client(server.path());
  client.enter("disk", true);
  Bytes batch;
  for (std::uint64_t index = 0; index < 300; ++index) {
    const auto header = RawClient::request(Command::kWrite, index * 4096, 4096, 0, index);
    batch = joined(batch, header, Bytes(4096, static_cast<std::byte>(index)));
  }
  bool sent = false;
  std::thread sender([&] { sent = client.try_send(batch); });
  std::vector<bool> seen(300);
  for (int count = 0; count < 300; ++count) {
    const auto reply = client.receive<SimpleReply>();
    REQUIRE(reply.error == 0);
    REQUIRE(reply.cookie < 300);
    seen[reply.cookie] = true;
  }
  sender.join();
  CHECK(sent);
  CHECK(std::ranges::count(seen, true) == 300);
  for (std::uint64_t index = 0; index < 300; ++index) {
    REQUIRE((server.content(index * 4096, 4096) == Bytes(4096, static_cast<std::byte>(index))));
  }

  const Bytes slow = joined(RawClient::request(Command::kWrite, 3, 5), pattern(5, 9));
  for (const std::byte piece : slow) {
    REQUIRE(client.try_send(std::span(&piece, 1)));
    std::this_thread::sleep_for(std::chrono::milliseconds(2));
  }
  CHECK(client.receive_error() == 0);
  CHECK(server.content(3, 5) == pattern(5, 9));
}

TEST_CASE("flush and FUA reach the disk") {
  ServerFixture server;
  const RawClient client(server.path());
  client.enter("disk", true);
  CHECK(ask(client, Command::kFlush, 0, 0) == 0);
  CHECK(server.disk().flushes == 1);
  CHECK(write(client, 0, pattern(512, 0), kCommandFua) == 0);
  CHECK(ask(client, Command::kWriteZeroes, 0, 512, kCommandFua) == 0);
  CHECK(ask(client, Command::kTrim, 0, 512, kCommandFua) == 0);
  CHECK(server.disk().durable_writes == 3);
  CHECK(write(client, 0, pattern(512, 0)) == 0);
  CHECK(server.disk().durable_writes == 3);
}

TEST_CASE("zero, trim and block status agree") {
  ServerFixture server;
  const RawClient client(server.path());
  client.enter("disk", true);
  CHECK(block_status(client, 0, 1 << 20) == Status{{1 << 20, kHole}});
  REQUIRE(write(client, 8192, pattern(16384, 1)) == 0);
  CHECK(block_status(client, 0, 1 << 20) == Status{{8192, kHole}, {16384, 0}, {(1 << 20) - 24576, kHole}});
  CHECK(block_status(client, 8193, 7) == Status{{7, 0}});
  CHECK(block_status(client, 0, 1 << 20, kCommandReqOne) == Status{{8192, kHole}});
  CHECK(ask(client, Command::kTrim, 8192, 4096) == 0);
  CHECK(ask(client, Command::kWriteZeroes, 12288, 4096, kCommandFastZero) == 0);
  CHECK(ask(client, Command::kWriteZeroes, 16384, 4096, kCommandNoHole) == 0);
  CHECK(server.disk().no_hole_zeroes == 1);
  CHECK(server.disk().discards == 1);
  CHECK(block_status(client, 8192, 16384) == Status{{8192, kHole}, {8192, 0}});
  CHECK(read_back(client, 8192, 12288) == Bytes(12288));
  CHECK(ask(client, Command::kCache, 0, 1 << 20) == 0);
  CHECK(ask(client, Command::kWriteZeroes, 0, ServerFixture::kDiskBytes) == 0);
}

TEST_CASE("requests of no bytes succeed") {
  ServerFixture server;
  const RawClient client(server.path());
  client.enter("disk", true);
  for (const auto command :
       {Command::kRead, Command::kWrite, Command::kTrim, Command::kWriteZeroes, Command::kCache}) {
    CHECK(ask(client, command, ServerFixture::kDiskBytes, 0) == 0);
  }
  CHECK(server.disk().started == 0);
}

TEST_CASE("a refused write's payload is taken off the wire") {
  ServerFixture server;
  const bool structured = GENERATE(true, false);
  const RawClient client(server.path());
  client.enter("disk", structured);
  CHECK(write(client, ServerFixture::kDiskBytes - 1, pattern(100'000, 1)) == 28);
  CHECK(write(client, 0, pattern((32 << 20) + 1, 1)) == 22);
  CHECK(write(client, 0, pattern(10, 1), 1 << 9) == 22);
  CHECK(write(client, 0, pattern(10, 1)) == 0);

  const RawClient snapshot(server.path());
  snapshot.enter("disk@snap", structured);
  CHECK(write(snapshot, 0, pattern(300'000, 1)) == 1);
  CHECK(ask(snapshot, Command::kTrim, 0, 512) == 1);
  CHECK(ask(snapshot, Command::kFlush, 0, 0) == 0);
}

TEST_CASE("refusals have numbers, and texts where those were agreed on") {
  ServerFixture server;
  const RawClient client(server.path());
  client.enter("disk", true);
  CHECK(ask(client, static_cast<Command>(99), 0, 0) == 22);
  CHECK(client.error_text() == "unknown command");
  CHECK(ask(client, Command::kRead, ServerFixture::kDiskBytes, 1) == 22);
  CHECK(ask(client, Command::kRead, 0, (32 << 20) + 1, kCommandDf) == 75);
  server.fail_with(Error{ErrorKind::kNoSpace, 28, "the pool is full"});
  CHECK(write(client, 0, pattern(4096, 1)) == 28);
  CHECK(client.error_text() == "the pool is full");
  server.fail_with(Error{ErrorKind::kCorrupt, 5, "checksum"});
  for (const auto command : {Command::kRead, Command::kFlush, Command::kTrim, Command::kWriteZeroes,
                             Command::kBlockStatus, Command::kCache}) {
    CHECK(ask(client, command, 0, 4096) == 5);
  }
  server.fail_with({});
  CHECK(read_back(client, 0, 512) == Bytes(512));
}

TEST_CASE("requests run at the same time, and are answered as they finish") {
  ServerFixture server;
  const RawClient client(server.path());
  client.enter("disk", true);
  server.close_gate();
  for (std::uint64_t cookie = 0; cookie < 20; ++cookie) {
    client.send(RawClient::request(Command::kTrim, 0, 4096, 0, cookie));
  }
  CHECK(eventually([&] { return server.disk().started == 20; }));
  CHECK(client.silent());
  server.open_gate();
  for (std::uint64_t cookie = 0; cookie < 20; ++cookie) CHECK(client.receive_error(cookie) == 0);
}

TEST_CASE("a client that sees the end of the stream is detached") {
  ServerFixture server;
  for (int round = 0; round < 50; ++round) {
    const RawClient client(server.path());
    client.enter("disk", true);
    REQUIRE(server.disk().attached == 1);
    if (round % 2 == 0) {
      client.send(RawClient::request(Command::kDisconnect, 0, 0));
    } else {
      client.shut_sending();
    }
    REQUIRE(client.ended());
    REQUIRE(server.disk().attached == 0);
  }
}

TEST_CASE("what was asked before a disconnect is done before the disk is let go") {
  ServerFixture server;
  const RawClient client(server.path());
  client.enter("disk", true);
  server.close_gate();
  client.send(RawClient::request(Command::kWrite, 0, 8), pattern(8, 3),
              RawClient::request(Command::kDisconnect, 0, 0));
  CHECK(eventually([&] { return server.disk().started == 1; }));
  CHECK(server.disk().attached == 1);
  server.open_gate();
  CHECK(client.receive_error() == 0);
  CHECK(client.ended());
  CHECK(server.content(0, 8) == pattern(8, 3));
}

TEST_CASE("a stop answers what is in flight, flushes, and lets nobody in") {
  ServerFixture server;
  const RawClient client(server.path());
  const RawClient greeting(server.path());
  client.enter("disk", true);
  greeting.greet();
  server.close_gate();
  client.send(RawClient::request(Command::kWrite, 0, 8), pattern(8, 3));
  CHECK(eventually([&] { return server.disk().started == 1; }));
  server.begin_stop();
  CHECK(greeting.ended());
  CHECK(client.silent());
  server.open_gate();
  CHECK(client.receive_error() == 0);
  CHECK(client.ended());
  server.stop();
  CHECK(server.disk().flushes == 1);
  CHECK(server.disk().attached == 0);
  CHECK(::access(server.path().c_str(), F_OK) != 0);
}

TEST_CASE("a full pool is in the log, once") {
  ServerFixture server;
  const RawClient client(server.path());
  client.enter("disk", true);
  server.fail_with(Error{ErrorKind::kNoSpace, ENOSPC, "the pool is full"});
  for (int i = 0; i < 3; ++i) {
    client.send(RawClient::request(Command::kWrite, 0, 8), pattern(8, 3));
    CHECK(client.receive_error() == ENOSPC);
  }
  const std::string log = server.log();
  const auto found = log.find("no space");
  REQUIRE(found != log.npos);
  CHECK(log.find("no space", found + 1) == log.npos);
}
