// Requests and replies as bytes, and which requests never reach a disk.
#include "nbd/request.h"

#include <catch2/catch.hpp>

#include "coppice/buffer_pool.h"
#include "nbd/block_status.h"
#include "nbd/reply.h"
#include "raw_client.h"

using namespace coppice;
using namespace coppice::nbd;
using coppice::test::Bytes;
using coppice::test::joined;

namespace {

constexpr ExportShape kWritable{
    .size_bytes = 1 << 20, .read_only = false, .form = HeaderForm::kStructured, .block_status = true};
constexpr ExportShape kSnapshot{
    .size_bytes = 1 << 20, .read_only = true, .form = HeaderForm::kStructured, .block_status = true};

constexpr ExportShape kExtended{
    .size_bytes = 1 << 20, .read_only = false, .form = HeaderForm::kExtended, .block_status = true};

WireError refused(Command command, std::uint64_t offset, std::uint64_t length, std::uint16_t flags = 0,
                  const ExportShape& shape = kWritable) {
  const auto refusal = refuse_request(
      {.command = command, .flags = flags, .cookie = 1, .offset_bytes = offset, .length_bytes = length},
      shape);
  return refusal ? refusal->error : WireError::kNone;
}

Bytes head_of(const Reply& reply) {
  return {reply.head.begin(), reply.head.begin() + static_cast<long>(reply.head_bytes)};
}

constexpr Request kRead{
    .command = Command::kRead, .flags = 0, .cookie = 9, .offset_bytes = 512, .length_bytes = 8192};
constexpr Request kWrite{
    .command = Command::kWrite, .flags = 0, .cookie = 9, .offset_bytes = 512, .length_bytes = 8192};

}  // namespace

TEST_CASE("a request is decoded, and a wrong magic is seen") {
  const auto header = test::RawClient::request(Command::kTrim, 1ULL << 40, 77, kCommandFua, 5);
  const auto request = decode_request(bytes_of(header), HeaderForm::kStructured);
  REQUIRE(request);
  CHECK(request->command == Command::kTrim);
  CHECK(request->offset_bytes == 1ULL << 40);
  CHECK(request->length_bytes == 77);
  CHECK(request->cookie == 5);
  CHECK(request->has(kCommandFua));
  CHECK(request->payload_bytes == 0);
  auto wrong = header;
  wrong.magic = kRequestMagic ^ 1;
  CHECK_FALSE(decode_request(bytes_of(wrong), HeaderForm::kSimple));
}

TEST_CASE("ranges outside of the disk are refused, each command in its way") {
  constexpr std::uint64_t kEnd = 1 << 20;
  CHECK(refused(Command::kRead, kEnd - 1, 1) == WireError::kNone);
  CHECK(refused(Command::kRead, kEnd, 0) == WireError::kNone);
  CHECK(refused(Command::kRead, kEnd - 1, 2) == WireError::kInvalid);
  CHECK(refused(Command::kRead, UINT64_MAX, 2) == WireError::kInvalid);
  CHECK(refused(Command::kWrite, kEnd - 1, 2) == WireError::kNoSpace);
  CHECK(refused(Command::kWriteZeroes, UINT64_MAX, UINT32_MAX) == WireError::kNoSpace);
  CHECK(refused(Command::kTrim, kEnd, 1) == WireError::kInvalid);
  CHECK(refused(Command::kCache, kEnd, 1) == WireError::kInvalid);
  CHECK(refused(Command::kBlockStatus, kEnd, 1) == WireError::kInvalid);
  CHECK(refused(Command::kFlush, UINT64_MAX, 0) == WireError::kNone);
}

TEST_CASE("reads and writes have a longest length, other commands have not") {
  ExportShape large = kWritable;
  large.size_bytes = 1ULL << 40;
  constexpr std::uint32_t kMost = 32 << 20;
  CHECK(refused(Command::kRead, 0, kMost, 0, large) == WireError::kNone);
  CHECK(refused(Command::kRead, 0, kMost + 1, 0, large) == WireError::kInvalid);
  CHECK(refused(Command::kRead, 0, kMost + 1, kCommandDf, large) == WireError::kOverflow);
  CHECK(refused(Command::kWrite, 0, kMost + 1, 0, large) == WireError::kInvalid);
  CHECK(refused(Command::kTrim, 0, UINT32_MAX, 0, large) == WireError::kNone);
  CHECK(refused(Command::kWriteZeroes, 0, UINT32_MAX, 0, large) == WireError::kNone);
  CHECK(refused(Command::kBlockStatus, 0, UINT32_MAX, 0, large) == WireError::kNone);
  CHECK(refused(Command::kBlockStatus, 0, 0, 0, large) == WireError::kInvalid);
}

TEST_CASE("a read-only export refuses what changes it") {
  for (const auto command : {Command::kWrite, Command::kTrim, Command::kWriteZeroes}) {
    CHECK(refused(command, 0, 512, 0, kSnapshot) == WireError::kPermission);
  }
  for (const auto command : {Command::kRead, Command::kFlush, Command::kCache, Command::kBlockStatus}) {
    CHECK(refused(command, 0, 512, 0, kSnapshot) == WireError::kNone);
  }
}

TEST_CASE("flags are taken where they mean something") {
  for (const auto command : {Command::kRead, Command::kWrite, Command::kFlush, Command::kTrim,
                             Command::kCache, Command::kWriteZeroes, Command::kBlockStatus}) {
    CHECK(refused(command, 0, 512, kCommandFua) == WireError::kNone);
    CHECK(refused(command, 0, 512, 1 << 7) == WireError::kInvalid);
  }
  CHECK(refused(Command::kRead, 0, 512, kCommandDf) == WireError::kNone);
  CHECK(refused(Command::kWrite, 0, 512, kCommandDf) == WireError::kInvalid);
  CHECK(refused(Command::kBlockStatus, 0, 512, kCommandReqOne) == WireError::kNone);
  CHECK(refused(Command::kTrim, 0, 512, kCommandReqOne) == WireError::kInvalid);
  CHECK(refused(Command::kWriteZeroes, 0, 512, kCommandNoHole) == WireError::kNone);
  CHECK(refused(Command::kWriteZeroes, 0, 512, kCommandFastZero) == WireError::kNone);
  CHECK(refused(Command::kWriteZeroes, 0, 512, kCommandFastZero | kCommandNoHole) ==
        WireError::kNotSupported);
  CHECK(refused(Command::kWrite, 0, 512, kCommandNoHole) == WireError::kInvalid);
  CHECK(refused(static_cast<Command>(8), 0, 512) == WireError::kInvalid);
  CHECK(refused(static_cast<Command>(0xffff), 0, 512) == WireError::kInvalid);
}

TEST_CASE("block status needs its context") {
  ExportShape bare = kWritable;
  bare.block_status = false;
  CHECK(refused(Command::kBlockStatus, 0, 512, 0, bare) == WireError::kInvalid);
}

TEST_CASE("an export is advertised with what it can do") {
  CHECK(transmission_flags(kWritable) == (kHasFlags | kSendFlush | kSendFua | kSendTrim | kSendWriteZeroes |
                                          kSendDf | kCanMultiConn | kSendCache | kSendFastZero));
  CHECK(transmission_flags(kSnapshot) ==
        (kHasFlags | kReadOnly | kSendFlush | kSendFua | kSendDf | kCanMultiConn | kSendCache));
  ExportShape simple = kWritable;
  simple.form = HeaderForm::kSimple;
  CHECK((transmission_flags(simple) & kSendDf) == 0);
}

TEST_CASE("the engine's errors have the protocol's numbers") {
  const auto number = [](ErrorKind kind) {
    return static_cast<std::uint32_t>(wire_error(Error{kind, 0, ""}));
  };
  CHECK(number(ErrorKind::kNoSpace) == 28);
  CHECK(number(ErrorKind::kReadOnly) == 1);
  CHECK(number(ErrorKind::kIo) == 5);
  CHECK(number(ErrorKind::kCorrupt) == 5);
  CHECK(number(ErrorKind::kInvalid) == 22);
  CHECK(number(ErrorKind::kUnsupported) == 95);
  CHECK(number(ErrorKind::kBusy) == 108);
}

TEST_CASE("replies are laid out as the protocol has them") {
  CHECK(head_of(done_reply(kWrite, HeaderForm::kStructured)) ==
        joined(Big32(kSimpleReplyMagic), Big32(0), Big64(9)));
  CHECK(head_of(done_reply(kRead, HeaderForm::kStructured)) ==
        joined(Big32(kStructuredReplyMagic), Big16(1), Big16(0), Big64(9), Big32(0)));
  CHECK(head_of(error_reply(kRead, HeaderForm::kSimple, WireError::kIo, "why")) ==
        joined(Big32(kSimpleReplyMagic), Big32(5), Big64(9)));

  const Reply error = error_reply(kWrite, HeaderForm::kStructured, WireError::kNoSpace, "why");
  CHECK(head_of(error) == joined(Big32(kStructuredReplyMagic), Big16(1), Big16(32769), Big64(9), Big32(9)));
  CHECK(error.body == joined(Big32(28), Big16(3), test::bytes_of_text("why")));

  const Reply data = data_reply(kRead, HeaderForm::kStructured, AlignedBuffer(8192));
  CHECK(head_of(data) ==
        joined(Big32(kStructuredReplyMagic), Big16(1), Big16(1), Big64(9), Big32(8200), Big64(512)));
  CHECK(data.data_bytes == 8192);
  CHECK(head_of(data_reply(kRead, HeaderForm::kSimple, AlignedBuffer(8192))).size() == sizeof(SimpleReply));
}

TEST_CASE("block status has one chunk for each context, and the last one says so") {
  const std::vector<ContextStatus> both = {{1, {{4096, 0}, {4096, 3}}}, {7, {{8192, 1}}}};
  const Reply reply = status_reply(kRead, HeaderForm::kStructured, both);
  CHECK(reply.head_bytes == 0);
  CHECK(reply.body == joined(Big32(kStructuredReplyMagic), Big16(0), Big16(5), Big64(9), Big32(20), Big32(1),
                             Big32(4096), Big32(0), Big32(4096), Big32(3), Big32(kStructuredReplyMagic),
                             Big16(1), Big16(5), Big64(9), Big32(12), Big32(7), Big32(8192), Big32(1)));
}

TEST_CASE("an extended request says whether its length is a payload's") {
  ExtendedRequestHeader header{.magic = kExtendedRequestMagic,
                               .flags = kCommandPayloadLength,
                               .command = static_cast<std::uint16_t>(Command::kWrite),
                               .cookie = 5,
                               .offset_bytes = 1ULL << 40,
                               .length_bytes = 77};
  const auto write = decode_request(bytes_of(header), HeaderForm::kExtended);
  REQUIRE(write);
  CHECK(write->payload_bytes == 77);
  CHECK(write->length_bytes == 77);
  header.flags = 0;
  header.command = static_cast<std::uint16_t>(Command::kTrim);
  header.length_bytes = 1ULL << 50;
  const auto trim = decode_request(bytes_of(header), HeaderForm::kExtended);
  REQUIRE(trim);
  CHECK(trim->payload_bytes == 0);
  CHECK(trim->length_bytes == 1ULL << 50);
  header.flags = kCommandPayloadLength;
  CHECK_FALSE(decode_request(bytes_of(header), HeaderForm::kExtended));
  header.length_bytes = 32 << 20;
  CHECK(decode_request(bytes_of(header), HeaderForm::kExtended));
  header.magic = kRequestMagic;
  CHECK_FALSE(decode_request(bytes_of(header), HeaderForm::kExtended));
}

TEST_CASE("with extended headers a write has a payload, and other commands have none") {
  CHECK(refused(Command::kWrite, 0, 512, kCommandPayloadLength, kExtended) == WireError::kNone);
  CHECK(refused(Command::kWrite, 0, 512, kCommandPayloadLength | kCommandFua, kExtended) == WireError::kNone);
  CHECK(refused(Command::kWrite, 0, 512, 0, kExtended) == WireError::kInvalid);
  CHECK(refused(Command::kWrite, 0, 512, kCommandPayloadLength) == WireError::kInvalid);
  for (const auto command : {Command::kRead, Command::kFlush, Command::kTrim, Command::kCache,
                             Command::kWriteZeroes, Command::kBlockStatus}) {
    CHECK(refused(command, 0, 512, 0, kExtended) == WireError::kNone);
    CHECK(refused(command, 0, 512, kCommandPayloadLength, kExtended) == WireError::kInvalid);
  }
}

TEST_CASE("with extended headers lengths have 64 bits, but those of data") {
  ExportShape large = kExtended;
  large.size_bytes = 1ULL << 50;
  for (const auto command : {Command::kTrim, Command::kCache, Command::kWriteZeroes, Command::kBlockStatus}) {
    CHECK(refused(command, 0, 1ULL << 50, 0, large) == WireError::kNone);
    CHECK(refused(command, 1, 1ULL << 50, 0, large) != WireError::kNone);
    CHECK(refused(command, 1, UINT64_MAX, 0, large) != WireError::kNone);
  }
  CHECK(refused(Command::kRead, 0, (32 << 20) + 1, 0, large) == WireError::kOverflow);
  CHECK(refused(Command::kRead, 0, 1ULL << 40, 0, large) == WireError::kOverflow);
}

TEST_CASE("a status payload is a length and different contexts") {
  const auto take = [](const Bytes& payload) {
    Request request{.command = Command::kBlockStatus, .flags = kCommandPayloadLength | kCommandReqOne};
    const auto ids = take_status_payload(request, payload);
    if (ids) CHECK((request.length_bytes == 1ULL << 40 && request.flags == kCommandReqOne));
    return ids;
  };
  const Big64 length(1ULL << 40);
  CHECK(take(joined(length, Big32(7), Big32(2))) == std::vector<std::uint32_t>{7, 2});
  CHECK_FALSE(take(joined(length, Big32(7), Big32(7))));
  CHECK_FALSE(take(joined(length, Big32(7), Big16(2))));
  CHECK_FALSE(take(joined(length)));
  CHECK_FALSE(take(joined(Big32(7))));
  CHECK_FALSE(take({}));
}

TEST_CASE("extended replies are chunks with the offset of their request") {
  constexpr HeaderForm kForm = HeaderForm::kExtended;
  const auto head = [](std::uint16_t flags, std::uint16_t type, std::uint64_t length) {
    return joined(Big32(kExtendedReplyMagic), Big16(flags), Big16(type), Big64(9), Big64(512), Big64(length));
  };
  CHECK(head_of(done_reply(kWrite, kForm)) == head(1, 0, 0));
  CHECK(head_of(done_reply(kRead, kForm)) == head(1, 0, 0));
  CHECK(head_of(error_reply(kWrite, kForm, WireError::kIo, "why")) == head(1, 32769, 9));
  CHECK(head_of(data_reply(kRead, kForm, AlignedBuffer(8192))) == joined(head(1, 1, 8200), Big64(512)));
  const std::vector<ContextStatus> both = {{1, {{1ULL << 40, 0}, {4096, 3}}}, {7, {{8192, 1}}}};
  CHECK(status_reply(kRead, kForm, both).body == joined(head(0, 6, 40), Big32(1), Big32(2), Big64(1ULL << 40),
                                                        Big64(0), Big64(4096), Big64(3), head(1, 6, 24),
                                                        Big32(7), Big32(1), Big64(8192), Big64(1)));
}

TEST_CASE("contexts can be named where extended headers and contexts were agreed on") {
  CHECK((transmission_flags(kExtended) & kBlockStatusPayload) != 0);
  CHECK((transmission_flags(kWritable) & kBlockStatusPayload) == 0);
  ExportShape bare = kExtended;
  bare.block_status = false;
  CHECK((transmission_flags(bare) & kBlockStatusPayload) == 0);
  const Request named{.command = Command::kBlockStatus, .flags = kCommandPayloadLength};
  CHECK(names_contexts(named, kExtended));
  CHECK_FALSE(names_contexts(named, bare));
  CHECK_FALSE(names_contexts(named, kWritable));
}

namespace {

using Stretches = std::vector<std::pair<std::uint64_t, std::uint32_t>>;

Stretches dirty(const std::vector<DiffRange>& changes, std::uint64_t offset, std::uint64_t length,
                std::size_t most = 100) {
  std::vector<Stretch> found;
  append_dirty(changes, offset, length, most, found);
  Stretches stretches;
  for (const Stretch& each : found) stretches.emplace_back(each.length_bytes, each.state);
  return stretches;
}

}  // namespace

TEST_CASE("changes become stretches of dirty and clean blocks, cut to the range that was asked about") {
  CHECK(dirty({}, 4096, 8192) == Stretches{{8192, 0}});
  const std::vector<DiffRange> changes = {{8192, 4096, false}, {12288, 4096, true}, {32768, 8192, false}};
  CHECK(dirty(changes, 0, 65536) == Stretches{{8192, 0}, {8192, 1}, {16384, 0}, {8192, 1}, {24576, 0}});
  CHECK(dirty(changes, 9000, 1000) == Stretches{{1000, 1}});
  CHECK(dirty(changes, 12288, 24576) == Stretches{{4096, 1}, {16384, 0}, {4096, 1}});
  CHECK(dirty(changes, 40960, 100) == Stretches{{100, 0}});
  CHECK(dirty(changes, 0, 65536, 2) == Stretches{{8192, 0}, {8192, 1}});
  CHECK(dirty(changes, 8192, 65536, 1) == Stretches{{8192, 1}});
}

TEST_CASE("buffers are reused, aligned, and not hoarded") {
  BufferPool pool;
  AlignedBuffer first = pool.take(5000);
  REQUIRE(first.size() >= 5000);
  CHECK(is_block_aligned(first.data()));
  const std::byte* memory = first.data();
  pool.give(std::move(first));
  CHECK(pool.take(8192).data() == memory);
  CHECK(pool.take(32 << 20).size() == 32U << 20);
  CHECK(pool.take(0).size() >= 1);
  for (int count = 0; count < 100; ++count) pool.give(AlignedBuffer(1 << 20));
  CHECK(pool.kept_bytes() <= BufferPool::kKeptBytes);
}
