// The server as a client with extended headers finds it: 64-bit lengths, payloads, contexts by their ids.
#include <catch2/catch.hpp>

#include "server_fixture.h"

using namespace coppice;
using namespace coppice::nbd;
using coppice::test::Bytes;
using coppice::test::joined;
using coppice::test::RawClient;
using coppice::test::ServerFixture;

namespace {

constexpr std::uint64_t kCookie = 77;
constexpr std::uint16_t kPayload = kCommandPayloadLength;

// Into the transmission phase of `disk` with extended headers and all its contexts.
void enter(const RawClient& client) {
  client.greet();
  client.send_option(OptionCode::kExtendedHeaders);
  REQUIRE(client.receive_reply().code == OptionReplyCode::kAck);
  client.send_option(OptionCode::kSetMetaContext,
                     RawClient::context_payload("disk", {"base:allocation", "qemu:allocation-depth"}));
  for (int count = 0; count < 2; ++count)
    REQUIRE(client.receive_reply().code == OptionReplyCode::kMetaContext);
  REQUIRE(client.receive_reply().code == OptionReplyCode::kAck);
  client.send_option(OptionCode::kGo, RawClient::export_payload("disk"));
  const auto info = decode<InfoExport>(client.receive_reply().payload);
  CHECK((info.flags & kBlockStatusPayload) != 0);
  for (int count = 0; count < 2; ++count) static_cast<void>(client.receive_reply());
}

void ask(const RawClient& client, Command command, std::uint64_t offset, std::uint64_t length,
         std::uint16_t flags = 0, const Bytes& payload = {}) {
  client.send(ExtendedRequestHeader{.magic = kExtendedRequestMagic,
                                    .flags = flags,
                                    .command = static_cast<std::uint16_t>(command),
                                    .cookie = kCookie,
                                    .offset_bytes = offset,
                                    .length_bytes = length},
              payload);
}

struct Chunk {
  ChunkType type = ChunkType::kNone;
  bool last = false;
  Bytes payload;
};

Chunk receive_chunk(const RawClient& client, std::uint64_t offset) {
  const auto header = client.receive<ExtendedChunkHeader>();
  REQUIRE(header.magic == kExtendedReplyMagic);
  CHECK(header.cookie == kCookie);
  CHECK(header.offset_bytes == offset);
  return {static_cast<ChunkType>(std::uint16_t{header.type}), header.flags == kChunkDone,
          client.receive_bytes(header.length_bytes)};
}

// 0, or the error.
std::uint32_t outcome(const RawClient& client, std::uint64_t offset) {
  const Chunk chunk = receive_chunk(client, offset);
  CHECK(chunk.last);
  if (chunk.type == ChunkType::kNone) return 0;
  REQUIRE(chunk.type == ChunkType::kError);
  return decode<ErrorChunk>(chunk.payload).error;
}

std::uint32_t outcome_of(const RawClient& client, Command command, std::uint64_t offset, std::uint64_t length,
                         std::uint16_t flags = 0, const Bytes& payload = {}) {
  ask(client, command, offset, length, flags, payload);
  return outcome(client, offset);
}

}  // namespace

TEST_CASE("each command is answered in chunks of 32 byte headers") {
  ServerFixture server;
  const RawClient client(server.path());
  enter(client);
  const Bytes data(5000, std::byte{0x5a});
  CHECK(outcome_of(client, Command::kWrite, 4095, data.size(), kPayload | kCommandFua, data) == 0);
  CHECK(server.disk().durable_writes == 1);
  ask(client, Command::kRead, 4095, data.size());
  const Chunk read = receive_chunk(client, 4095);
  CHECK(read.type == ChunkType::kOffsetData);
  CHECK(read.last);
  CHECK((read.payload == joined(Big64(4095), data)));
  CHECK(outcome_of(client, Command::kFlush, 0, 0) == 0);
  CHECK(outcome_of(client, Command::kTrim, 0, ServerFixture::kDiskBytes) == 0);
  CHECK(outcome_of(client, Command::kWriteZeroes, 0, ServerFixture::kDiskBytes, kCommandFastZero) == 0);
  CHECK(outcome_of(client, Command::kCache, 0, ServerFixture::kDiskBytes) == 0);
  CHECK(outcome_of(client, Command::kRead, 0, 0) == 0);
  CHECK(outcome_of(client, Command::kTrim, 4096, std::uint64_t{1} << 40) == 22);
  CHECK(outcome_of(client, Command::kRead, 0, std::uint64_t{1} << 40) == 75);
}

TEST_CASE("a payload that is not taken is taken off the wire, unless it is absurd") {
  ServerFixture server;
  const RawClient client(server.path());
  enter(client);
  CHECK(outcome_of(client, Command::kTrim, 0, 1000, kPayload, Bytes(1000)) == 22);
  CHECK(outcome_of(client, Command::kWrite, 0, 512) == 22);
  CHECK(outcome_of(client, Command::kWrite, ServerFixture::kDiskBytes, 100'000, kPayload, Bytes(100'000)) ==
        28);
  CHECK(outcome_of(client, Command::kBlockStatus, 0, 8, kPayload, Bytes(8)) == 22);
  CHECK(outcome_of(client, Command::kBlockStatus, 0, 100'000, kPayload, Bytes(100'000)) == 22);
  CHECK(server.disk().started == 0);
  CHECK(outcome_of(client, Command::kFlush, 0, 0) == 0);
  ask(client, Command::kWrite, 0, (32 << 20) + 1, kPayload);
  CHECK(client.ended());
}

TEST_CASE("block status is told of all contexts, or of those that are named") {
  ServerFixture server;
  const RawClient client(server.path());
  enter(client);
  CHECK(outcome_of(client, Command::kWrite, 0, 4096, kPayload, Bytes(4096, std::byte{1})) == 0);
  const Bytes allocation =
      joined(Big32(kBaseAllocationId), Big32(2), Big64(4096), Big64(0), Big64(4096), Big64(3));
  const Bytes depth =
      joined(Big32(kAllocationDepthId), Big32(2), Big64(4096), Big64(1), Big64(4096), Big64(0));
  ask(client, Command::kBlockStatus, 0, 8192);
  for (const Bytes& expected : {allocation, depth}) {
    const Chunk chunk = receive_chunk(client, 0);
    CHECK(chunk.type == ChunkType::kBlockStatusExtended);
    CHECK(chunk.last == (expected == depth));
    CHECK(chunk.payload == expected);
  }
  ask(client, Command::kBlockStatus, 0, 12, kPayload, joined(Big64(8192), Big32(kAllocationDepthId)));
  const Chunk named = receive_chunk(client, 0);
  CHECK(named.last);
  CHECK(named.payload == depth);
  for (const std::uint32_t unknown : {0U, 99U}) {
    const Bytes payload = joined(Big64(8192), Big32(kBaseAllocationId), Big32(unknown));
    CHECK(outcome_of(client, Command::kBlockStatus, 0, payload.size(), kPayload, payload) == 22);
  }
  const Bytes too_long = joined(Big64(1ULL << 40), Big32(kBaseAllocationId));
  CHECK(outcome_of(client, Command::kBlockStatus, 0, too_long.size(), kPayload, too_long) == 22);
}

TEST_CASE("what was agreed on can't be gone back on, and names no export the old way") {
  ServerFixture server;
  const RawClient client(server.path());
  client.greet();
  client.send_option(OptionCode::kStructuredReply);
  CHECK(client.receive_reply().code == OptionReplyCode::kAck);
  for (int count = 0; count < 2; ++count) {
    client.send_option(OptionCode::kExtendedHeaders);
    CHECK(client.receive_reply().code == OptionReplyCode::kAck);
  }
  client.send_option(OptionCode::kStructuredReply);
  CHECK(client.receive_reply().code == OptionReplyCode::kErrorExtendedHeadersRequired);
  client.send_option(OptionCode::kExportName, test::bytes_of_text("disk"));
  CHECK(client.ended());
  CHECK(server.disk().attached == 0);
}
