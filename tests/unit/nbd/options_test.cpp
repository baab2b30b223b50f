// The handshake's parser: what it takes, what it refuses, and that no bytes upset it.
#include "nbd/options.h"

#include <catch2/catch.hpp>
#include <random>

#include "raw_client.h"

using namespace coppice;
using namespace coppice::nbd;
using coppice::test::Bytes;
using coppice::test::joined;
using coppice::test::RawClient;

namespace {

constexpr auto kGo = static_cast<std::uint32_t>(OptionCode::kGo);
constexpr auto kInfo = static_cast<std::uint32_t>(OptionCode::kInfo);
constexpr auto kSet = static_cast<std::uint32_t>(OptionCode::kSetMetaContext);
constexpr auto kListContexts = static_cast<std::uint32_t>(OptionCode::kListMetaContext);

OptionReplyCode refusal_of(std::uint32_t code, const Bytes& payload) {
  const auto option = parse_option(code, payload);
  REQUIRE_FALSE(option);
  REQUIRE_FALSE(option.error().text.empty());
  return option.error().code;
}

}  // namespace

TEST_CASE("GO and INFO are taken apart") {
  const auto payload = RawClient::export_payload("disk@a", {InfoCode::kBlockSize, InfoCode::kName});
  const auto go = parse_option(kGo, payload);
  REQUIRE(go);
  const auto& option = std::get<ExportOption>(*go);
  CHECK(option.go);
  CHECK(option.name == "disk@a");
  CHECK(option.wants_name);
  CHECK_FALSE(option.wants_description);

  const auto info = parse_option(kInfo, RawClient::export_payload("", {InfoCode::kDescription}));
  REQUIRE(info);
  CHECK_FALSE(std::get<ExportOption>(*info).go);
  CHECK(std::get<ExportOption>(*info).name.empty());
  CHECK(std::get<ExportOption>(*info).wants_description);
}

TEST_CASE("metadata contexts are taken apart and matched") {
  const auto match = [](std::uint32_t code, const std::vector<std::string>& queries) {
    const auto option = parse_option(code, RawClient::context_payload("d", queries));
    REQUIRE(option);
    return match_contexts(std::get<MetaContextOption>(*option), {});
  };
  REQUIRE(match(kSet, {"x:y", "base:allocation", "base:allocation"}).size() == 1);
  CHECK(match(kSet, {"base:allocation"})[0].id == kBaseAllocationId);
  CHECK(match(kSet, {}).empty());
  CHECK(match(kSet, {"base:"}).empty());
  CHECK(match(kSet, {"qemu:dirty-bitmap:x"}).empty());
  CHECK(match(kSet, {"qemu:"}).empty());
  REQUIRE(match(kSet, {"qemu:allocation-depth"}).size() == 1);
  CHECK(match(kSet, {"qemu:allocation-depth"})[0].id == kAllocationDepthId);
  CHECK(match(kListContexts, {"qemu:"})[0].name == "qemu:allocation-depth");
  CHECK(match(kListContexts, {"qemu:dirty-bitmap:"}).empty());
  REQUIRE(match(kListContexts, {}).size() == 2);
  CHECK(match(kListContexts, {})[0].id == 0);
  CHECK(match(kListContexts, {"base:"})[0].name == "base:allocation");
  CHECK(match(kListContexts, {"other:"}).empty());
}

TEST_CASE("payloads that lie about their lengths are refused") {
  const Bytes whole = RawClient::export_payload("disk", {InfoCode::kName, InfoCode::kBlockSize});
  for (std::size_t length = 0; length < whole.size(); ++length) {
    CHECK(refusal_of(kGo, Bytes(whole.begin(), whole.begin() + static_cast<long>(length))) ==
          OptionReplyCode::kErrorInvalid);
  }
  CHECK(refusal_of(kGo, joined(whole, Bytes(1))) == OptionReplyCode::kErrorInvalid);

  const Bytes contexts = RawClient::context_payload("disk", {"base:allocation", "a:b"});
  for (std::size_t length = 0; length < contexts.size(); ++length) {
    CHECK(refusal_of(kSet, Bytes(contexts.begin(), contexts.begin() + static_cast<long>(length))) ==
          OptionReplyCode::kErrorInvalid);
  }
  CHECK(refusal_of(kGo, joined(Big32(0xffffffff), Big16(0))) == OptionReplyCode::kErrorInvalid);
  CHECK(refusal_of(kSet, joined(Big32(0), Big32(0xffffffff))) == OptionReplyCode::kErrorInvalid);
  CHECK(refusal_of(kGo, RawClient::export_payload(std::string(4097, 'n'))) == OptionReplyCode::kErrorInvalid);
  CHECK(parse_option(kGo, RawClient::export_payload(std::string(4096, 'n'))));
}

TEST_CASE("options without payload have none, and unknown options are said to be unknown") {
  for (const auto code : {OptionCode::kList, OptionCode::kStartTls, OptionCode::kStructuredReply,
                          OptionCode::kExtendedHeaders}) {
    CHECK(parse_option(static_cast<std::uint32_t>(code), {}));
    CHECK(refusal_of(static_cast<std::uint32_t>(code), Bytes(1)) == OptionReplyCode::kErrorInvalid);
  }
  CHECK(parse_option(static_cast<std::uint32_t>(OptionCode::kAbort), Bytes(3)));
  for (const std::uint32_t code : {0U, 4U, 12U, 0xffffffffU}) {
    CHECK(refusal_of(code, Bytes(8)) == OptionReplyCode::kErrorUnsupported);
  }
}

TEST_CASE("bitmaps are asked for by name, or all of them") {
  const MetaContextOption named{
      .select = true,
      .name = "d",
      .queries = {"qemu:dirty-bitmap:a", "base:allocation", "qemu:dirty-bitmap:a",
                  "qemu:dirty-bitmap:", "qemu:allocation-depth", "qemu:dirty-bitmap:b"}};
  CHECK(named_bitmaps(named) == std::vector<std::string>{"a", "b"});
  CHECK_FALSE(asks_for_all_bitmaps(named));
  const auto chosen = match_contexts(named, std::vector<std::string>{"b"});
  REQUIRE(chosen.size() == 3);
  CHECK(chosen[1].name == "qemu:allocation-depth");
  CHECK(chosen[2].name == "qemu:dirty-bitmap:b");
  CHECK(chosen[2].id > chosen[1].id);

  for (const char* query : {"qemu:", "qemu:dirty-bitmap:"}) {
    CHECK(asks_for_all_bitmaps({.select = false, .name = "d", .queries = {query}}));
    CHECK_FALSE(asks_for_all_bitmaps({.select = true, .name = "d", .queries = {query}}));
  }
  CHECK(asks_for_all_bitmaps({.select = false, .name = "d", .queries = {}}));
  CHECK_FALSE(asks_for_all_bitmaps({.select = false, .name = "d", .queries = {"base:"}}));
}

TEST_CASE("no payload upsets the parser") {
  std::mt19937 random(20240501);
  const std::vector<Bytes> honest = {
      RawClient::export_payload("disk@snapshot", {InfoCode::kName, InfoCode::kBlockSize}),
      RawClient::context_payload("disk", {"base:allocation", "qemu:x", ""}), Bytes{}};
  std::size_t accepted = 0;
  std::size_t refused = 0;
  for (int round = 0; round < 200'000; ++round) {
    Bytes payload = honest[random() % honest.size()];
    if (round % 3 == 0) payload.resize(random() % 64);
    for (std::size_t change = random() % 4; change != 0 && !payload.empty(); --change) {
      payload[random() % payload.size()] = static_cast<std::byte>(random());
    }
    if (random() % 4 == 0) payload.resize(random() % (payload.size() + 4));
    const std::uint32_t code = random() % 13;
    // Held in memory of exactly its size, so that a sanitizer sees a step too far.
    const Bytes exact(payload.begin(), payload.end());
    if (const auto option = parse_option(code, exact)) {
      ++accepted;
      if (const auto* contexts = std::get_if<MetaContextOption>(&*option)) {
        CHECK(match_contexts(*contexts, {}).size() <= 2);
        CHECK(named_bitmaps(*contexts).size() <= contexts->queries.size());
      }
    } else {
      ++refused;
    }
  }
  CHECK(accepted > 1000);
  CHECK(refused > 1000);
}

TEST_CASE("replies to options are laid out as the protocol has them") {
  OptionReplies replies(7);
  replies.server("ab", "c");
  replies.info_block_size();
  replies.acknowledge();
  const Bytes expected =
      joined(Big64(kOptionReplyMagic), Big32(7), Big32(2), Big32(7), Big32(2), test::bytes_of_text("abc"),
             Big64(kOptionReplyMagic), Big32(7), Big32(3), Big32(14), Big16(3), Big32(1), Big32(4096),
             Big32(32 << 20), Big64(kOptionReplyMagic), Big32(7), Big32(1), Big32(0));
  CHECK(Bytes(replies.bytes().begin(), replies.bytes().end()) == expected);
}

TEST_CASE("numbers are big-endian on the wire") {
  const Big32 number(0x01020304);
  const auto bytes = bytes_of(number);
  CHECK(bytes[0] == std::byte{1});
  CHECK(bytes[3] == std::byte{4});
  CHECK(decode<Big32>(bytes) == 0x01020304U);
}

TEST_CASE("a client's names are printable") {
  CHECK(printable("a\nb\x7f") == "a?b?");
  CHECK(printable(std::string(300, 'x')).size() == 255);
}
