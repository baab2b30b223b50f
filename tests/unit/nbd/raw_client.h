// A client that says exactly what a test wants it to, also what no honest client would. Blocking, with a time
// limit on every wait, so that a test fails instead of hanging.
#pragma once

#include <poll.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <catch2/catch.hpp>
#include <cstring>
#include <string>
#include <utility>
#include <vector>

#include "nbd/protocol.h"

namespace coppice::test {

using Bytes = std::vector<std::byte>;

inline Bytes bytes_of_text(std::string_view text) {
  const auto bytes = std::as_bytes(std::span(text));
  return {bytes.begin(), bytes.end()};
}

template <class... Parts>
Bytes joined(const Parts&... parts) {
  Bytes all;
  const auto append = [&all](const auto& part) {
    if constexpr (nbd::WireStruct<std::remove_cvref_t<decltype(part)>>) {
      const auto bytes = nbd::bytes_of(part);
      all.insert(all.end(), bytes.begin(), bytes.end());
    } else {
      all.insert(all.end(), part.begin(), part.end());
    }
  };
  (append(parts), ...);
  return all;
}

class RawClient {
 public:
  static constexpr int kPatienceMs = 20'000;

  explicit RawClient(const std::string& path) : socket_(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0)) {
    sockaddr_un address{};
    address.sun_family = AF_UNIX;
    std::memcpy(address.sun_path, path.data(), path.size());
    REQUIRE(::connect(socket_, reinterpret_cast<const sockaddr*>(&address), sizeof(address)) == 0);
  }
  RawClient(const RawClient&) = delete;
  RawClient& operator=(const RawClient&) = delete;
  ~RawClient() { hang_up(); }

  void hang_up() {
    if (socket_ >= 0) ::close(std::exchange(socket_, -1));
  }
  [[nodiscard]] int socket() const { return socket_; }
  void shut_sending() const { ::shutdown(socket_, SHUT_WR); }

  // False when the server has hung up.
  bool try_send(std::span<const std::byte> bytes) const {
    while (!bytes.empty()) {
      const ssize_t sent = ::send(socket_, bytes.data(), bytes.size(), MSG_NOSIGNAL);
      if (sent < 0) return false;
      bytes = bytes.subspan(static_cast<std::size_t>(sent));
    }
    return true;
  }
  template <class... Parts>
  void send(const Parts&... parts) const {
    const Bytes bytes = joined(parts...);
    REQUIRE(try_send(bytes));
  }

  // Fewer than asked for only at the end of the stream.
  Bytes receive_some(std::size_t bytes) const {
    Bytes all(bytes);
    std::size_t have = 0;
    while (have < bytes) {
      pollfd waiting{.fd = socket_, .events = POLLIN, .revents = 0};
      REQUIRE(::poll(&waiting, 1, kPatienceMs) == 1);
      const ssize_t got = ::recv(socket_, all.data() + have, bytes - have, 0);
      if (got <= 0) break;
      have += static_cast<std::size_t>(got);
    }
    all.resize(have);
    return all;
  }
  Bytes receive_bytes(std::size_t bytes) const {
    Bytes all = receive_some(bytes);
    REQUIRE(all.size() == bytes);
    return all;
  }
  template <nbd::WireStruct T>
  T receive() const {
    return nbd::decode<T>(receive_bytes(sizeof(T)));
  }
  // The server has closed, and said nothing more.
  [[nodiscard]] bool ended() const { return receive_some(1).empty(); }
  // Nothing comes for a while.
  [[nodiscard]] bool silent() const {
    pollfd waiting{.fd = socket_, .events = POLLIN, .revents = 0};
    return ::poll(&waiting, 1, 200) == 0;
  }

  void greet(std::uint32_t flags = nbd::kClientFlagFixedNewstyle | nbd::kClientFlagNoZeroes) const {
    const auto greeting = receive<nbd::Greeting>();
    REQUIRE(greeting.init_magic == nbd::kInitMagic);
    REQUIRE(greeting.option_magic == nbd::kOptionMagic);
    send(nbd::Big32(flags));
  }

  void send_option(std::uint32_t code, const Bytes& payload = {}) const {
    send(nbd::OptionHeader{.magic = nbd::kOptionMagic,
                           .code = code,
                           .length_bytes = static_cast<std::uint32_t>(payload.size())},
         payload);
  }
  void send_option(nbd::OptionCode code, const Bytes& payload = {}) const {
    send_option(static_cast<std::uint32_t>(code), payload);
  }

  struct OptionReply {
    nbd::OptionReplyCode code = nbd::OptionReplyCode::kAck;
    Bytes payload;
    [[nodiscard]] std::string text() const {
      return {reinterpret_cast<const char*>(payload.data()), payload.size()};
    }
  };
  OptionReply receive_reply() const {
    const auto header = receive<nbd::OptionReplyHeader>();
    REQUIRE(header.magic == nbd::kOptionReplyMagic);
    return {static_cast<nbd::OptionReplyCode>(std::uint32_t{header.code}),
            receive_bytes(header.length_bytes)};
  }

  static Bytes export_payload(const std::string& name, std::initializer_list<nbd::InfoCode> infos = {}) {
    Bytes payload = joined(nbd::Big32(static_cast<std::uint32_t>(name.size())), bytes_of_text(name),
                           nbd::Big16(static_cast<std::uint16_t>(infos.size())));
    for (const auto info : infos) payload = joined(payload, nbd::Big16(static_cast<std::uint16_t>(info)));
    return payload;
  }
  static Bytes context_payload(const std::string& name, const std::vector<std::string>& queries) {
    Bytes payload = joined(nbd::Big32(static_cast<std::uint32_t>(name.size())), bytes_of_text(name),
                           nbd::Big32(static_cast<std::uint32_t>(queries.size())));
    for (const auto& query : queries) {
      payload = joined(payload, nbd::Big32(static_cast<std::uint32_t>(query.size())), bytes_of_text(query));
    }
    return payload;
  }

  // Into the transmission phase, with all that can be agreed on or with nothing.
  nbd::InfoExport enter(const std::string& name, bool structured) const {
    greet();
    if (structured) {
      send_option(nbd::OptionCode::kStructuredReply);
      REQUIRE(receive_reply().code == nbd::OptionReplyCode::kAck);
      send_option(nbd::OptionCode::kSetMetaContext, context_payload(name, {"base:allocation"}));
      REQUIRE(receive_reply().code == nbd::OptionReplyCode::kMetaContext);
      REQUIRE(receive_reply().code == nbd::OptionReplyCode::kAck);
    }
    send_option(nbd::OptionCode::kGo, export_payload(name));
    const auto info = receive_reply();
    REQUIRE(info.code == nbd::OptionReplyCode::kInfo);
    REQUIRE(receive_reply().code == nbd::OptionReplyCode::kInfo);
    REQUIRE(receive_reply().code == nbd::OptionReplyCode::kAck);
    return nbd::decode<nbd::InfoExport>(info.payload);
  }

  static nbd::RequestHeader request(nbd::Command command, std::uint64_t offset, std::uint32_t length,
                                    std::uint16_t flags = 0, std::uint64_t cookie = 0x1122334455667788) {
    return {.magic = nbd::kRequestMagic,
            .flags = flags,
            .command = static_cast<std::uint16_t>(command),
            .cookie = cookie,
            .offset_bytes = offset,
            .length_bytes = length};
  }

  // The error of the reply to a request that carries no data back, whichever form it has.
  std::uint32_t receive_error(std::uint64_t cookie = 0x1122334455667788) const {
    const auto magic = receive<nbd::Big32>();
    if (magic == nbd::kSimpleReplyMagic) {
      const auto rest = receive_bytes(sizeof(nbd::SimpleReply) - sizeof(nbd::Big32));
      const auto reply = nbd::decode<nbd::SimpleReply>(joined(magic, rest));
      REQUIRE(reply.cookie == cookie);
      return reply.error;
    }
    const auto rest = receive_bytes(sizeof(nbd::ChunkHeader) - sizeof(nbd::Big32));
    const auto chunk = nbd::decode<nbd::ChunkHeader>(joined(magic, rest));
    REQUIRE(chunk.magic == nbd::kStructuredReplyMagic);
    REQUIRE(chunk.cookie == cookie);
    REQUIRE(chunk.flags == nbd::kChunkDone);
    if (chunk.type == static_cast<std::uint16_t>(nbd::ChunkType::kNone)) return 0;
    REQUIRE(chunk.type == static_cast<std::uint16_t>(nbd::ChunkType::kError));
    const auto error = receive<nbd::ErrorChunk>();
    error_text_ = receive_bytes(error.text_bytes);
    REQUIRE(chunk.length_bytes == sizeof(error) + error_text_.size());
    return error.error;
  }
  [[nodiscard]] std::string error_text() const {
    return {reinterpret_cast<const char*>(error_text_.data()), error_text_.size()};
  }

  // The payload of the one chunk that answers a request.
  Bytes receive_chunk(nbd::ChunkType type, std::uint64_t cookie = 0x1122334455667788) const {
    const auto chunk = receive<nbd::ChunkHeader>();
    REQUIRE(chunk.magic == nbd::kStructuredReplyMagic);
    REQUIRE(chunk.cookie == cookie);
    REQUIRE(chunk.type == static_cast<std::uint16_t>(type));
    REQUIRE(chunk.flags == nbd::kChunkDone);
    return receive_bytes(chunk.length_bytes);
  }

 private:
  int socket_;
  mutable Bytes error_text_;
};

}  // namespace coppice::test
