// TlsSession: the server's end of one TLS conversation, over memory: ciphertext comes in and goes out as
// bytes, and nothing here touches a socket, so many records go with one system call.
//
// What it holds is bounded: kBufferBytes each way, and what a handshake of ours takes. One thread at a time.
#pragma once

#include <gnutls/gnutls.h>

#include <cstddef>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "nbd/tls_credentials.h"

namespace coppice::nbd {

class TlsSession {
 public:
  static constexpr std::size_t kBufferBytes = 64 << 10;

  // The credentials outlive it.
  explicit TlsSession(const TlsCredentials& credentials);
  TlsSession(const TlsSession&) = delete;
  TlsSession& operator=(const TlsSession&) = delete;
  ~TlsSession();

  enum class Step : std::uint8_t { kDone, kWantsInput, kEnded, kFailed };
  Step handshake();
  // Decrypts what is there, until `into` is full or more ciphertext is wanted; `bytes` are in it.
  Step read(std::span<std::byte> into, std::size_t& bytes);
  // Encrypts all of it, at most kBufferBytes; only while nothing is outgoing().
  Step write(std::span<const std::byte> from);
  // Tells the client that no more comes.
  void say_goodbye();

  // Where ciphertext may be put that came; empty while there is enough.
  std::span<std::byte> room();
  void received(std::size_t bytes) { in_end_ += bytes; }
  // Ciphertext to be sent.
  [[nodiscard]] std::span<const std::byte> outgoing() const { return std::span(out_).subspan(out_begin_); }
  void sent(std::size_t bytes);

  // Nothing more is to be had from the client, and it is not gnutls that says so.
  void give_up(const char* why) {
    if (problem_.empty()) problem_ = why;
  }
  // Why a step failed, for the log.
  [[nodiscard]] const std::string& problem() const { return problem_; }

 private:
  static ssize_t push(gnutls_transport_ptr_t self, const void* from, std::size_t bytes);
  static ssize_t pull(gnutls_transport_ptr_t self, void* into, std::size_t bytes);
  static int pull_waits(gnutls_transport_ptr_t self, unsigned ms);
  Step failed(int code);
  [[nodiscard]] std::string reason(int code) const;

  TlsUser user_;
  gnutls_session_t session_ = nullptr;
  std::unique_ptr<std::byte[]> in_;
  std::size_t in_begin_ = 0;
  std::size_t in_end_ = 0;
  std::vector<std::byte> out_;
  std::size_t out_begin_ = 0;
  bool secured_ = false;
  std::string problem_;
};

}  // namespace coppice::nbd
