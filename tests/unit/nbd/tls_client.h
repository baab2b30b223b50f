// A client that speaks TLS, as gnutls' own does, over a socket that a test has: so that a test decides what
// goes before it, in it and behind it.
#pragma once

#include <gnutls/gnutls.h>
#include <sys/socket.h>

#include <catch2/catch.hpp>
#include <span>
#include <string>

namespace coppice::test {

inline constexpr const char* kKey = "0123456789abcdef0123456789abcdef";

class TlsClient {
 public:
  TlsClient(int socket, const std::string& user, const std::string& key = kKey) : socket_(socket) {
    const gnutls_datum_t hex{reinterpret_cast<unsigned char*>(const_cast<char*>(key.data())),
                             static_cast<unsigned>(key.size())};
    REQUIRE(gnutls_psk_allocate_client_credentials(&keys_) == 0);
    REQUIRE(gnutls_psk_set_client_credentials(keys_, user.c_str(), &hex, GNUTLS_PSK_KEY_HEX) == 0);
    REQUIRE(gnutls_init(&session_, GNUTLS_CLIENT) == 0);
    REQUIRE(gnutls_priority_set_direct(session_, "NORMAL:+ECDHE-PSK:+DHE-PSK:+PSK", nullptr) == 0);
    REQUIRE(gnutls_credentials_set(session_, GNUTLS_CRD_PSK, keys_) == 0);
    gnutls_transport_set_int(session_, socket_);
    gnutls_handshake_set_timeout(session_, 20'000);
    gnutls_record_set_timeout(session_, 20'000);
  }
  TlsClient(const TlsClient&) = delete;
  TlsClient& operator=(const TlsClient&) = delete;
  ~TlsClient() {
    gnutls_deinit(session_);
    gnutls_psk_free_client_credentials(keys_);
  }

  int handshake() {
    int code = GNUTLS_E_AGAIN;
    while (code == GNUTLS_E_AGAIN || code == GNUTLS_E_INTERRUPTED) code = gnutls_handshake(session_);
    return code;
  }
  bool send(std::span<const std::byte> bytes) {
    while (!bytes.empty()) {
      const ssize_t sent = gnutls_record_send(session_, bytes.data(), bytes.size());
      if (sent <= 0) return false;
      bytes = bytes.subspan(static_cast<std::size_t>(sent));
    }
    return true;
  }
  // False at the end.
  bool receive(std::span<std::byte> into) {
    while (!into.empty()) {
      const ssize_t got = gnutls_record_recv(session_, into.data(), into.size());
      if (got <= 0) return false;
      into = into.subspan(static_cast<std::size_t>(got));
    }
    return true;
  }
  void leave() { gnutls_bye(session_, GNUTLS_SHUT_WR); }

 private:
  int socket_;
  gnutls_session_t session_ = nullptr;
  gnutls_psk_client_credentials_t keys_ = nullptr;
};

}  // namespace coppice::test
