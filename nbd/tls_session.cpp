#include "nbd/tls_session.h"

#include <algorithm>
#include <cerrno>
#include <cstring>

#include "nbd/options.h"

namespace coppice::nbd {

namespace {

// A client can make us answer (key updates, for one) without taking the answers; this ends it.
constexpr std::size_t kMostOutgoing = 1 << 20;

bool goes_on(int code) {
  return code == GNUTLS_E_INTERRUPTED || code == GNUTLS_E_WARNING_ALERT_RECEIVED ||
         code == GNUTLS_E_GOT_APPLICATION_DATA;
}

}  // namespace

TlsSession::TlsSession(const TlsCredentials& credentials)
    : in_(std::make_unique_for_overwrite<std::byte[]>(kBufferBytes)) {
  // Tickets would let a client come back that has lost its right to; nothing here reconnects often.
  int code = gnutls_init(&session_, GNUTLS_SERVER | GNUTLS_NONBLOCK | GNUTLS_NO_TICKETS);
  if (code >= 0) code = credentials.equip(session_, user_);
  if (code < 0) {
    failed(code);
    return;
  }
  gnutls_transport_set_ptr(session_, this);
  gnutls_transport_set_push_function(session_, &TlsSession::push);
  gnutls_transport_set_pull_function(session_, &TlsSession::pull);
  gnutls_transport_set_pull_timeout_function(session_, &TlsSession::pull_waits);
  gnutls_handshake_set_timeout(session_, GNUTLS_INDEFINITE_TIMEOUT);  // the server has its own
}

TlsSession::~TlsSession() {
  if (session_ != nullptr) gnutls_deinit(session_);
}

TlsSession::Step TlsSession::handshake() {
  if (!problem_.empty()) return Step::kFailed;
  int code = GNUTLS_E_INTERRUPTED;
  while (goes_on(code)) code = gnutls_handshake(session_);
  secured_ = code == GNUTLS_E_SUCCESS;
  if (secured_) return Step::kDone;
  if (code == GNUTLS_E_AGAIN) return Step::kWantsInput;
  gnutls_alert_send_appropriate(session_, code);
  return failed(code);
}

TlsSession::Step TlsSession::read(std::span<std::byte> into, std::size_t& bytes) {
  bytes = 0;
  while (bytes < into.size()) {
    const auto rest = into.subspan(bytes);
    const ssize_t got = gnutls_record_recv(session_, rest.data(), rest.size());
    if (got == 0) return Step::kEnded;
    if (got == GNUTLS_E_AGAIN) return Step::kWantsInput;
    if (got < 0 && goes_on(static_cast<int>(got))) continue;
    if (got < 0) return failed(static_cast<int>(got));
    bytes += static_cast<std::size_t>(got);
  }
  return Step::kDone;
}

TlsSession::Step TlsSession::write(std::span<const std::byte> from) {
  while (!from.empty()) {
    const ssize_t taken = gnutls_record_send(session_, from.data(), from.size());
    if (taken < 0 && goes_on(static_cast<int>(taken))) continue;
    if (taken < 0) return failed(static_cast<int>(taken));
    from = from.subspan(static_cast<std::size_t>(taken));
  }
  return Step::kDone;
}

void TlsSession::say_goodbye() {
  if (secured_ && problem_.empty()) gnutls_bye(session_, GNUTLS_SHUT_WR);
}

std::span<std::byte> TlsSession::room() {
  if (in_begin_ != 0) {
    std::memmove(in_.get(), in_.get() + in_begin_, in_end_ - in_begin_);
    in_end_ -= in_begin_;
    in_begin_ = 0;
  }
  return std::span(in_.get(), kBufferBytes).subspan(in_end_);
}

void TlsSession::sent(std::size_t bytes) {
  out_begin_ += bytes;
  if (out_begin_ != out_.size()) return;
  out_.clear();
  out_begin_ = 0;
}

ssize_t TlsSession::push(gnutls_transport_ptr_t self, const void* from, std::size_t bytes) {
  auto& session = *static_cast<TlsSession*>(self);
  if (session.outgoing().size() + bytes > kMostOutgoing) {
    gnutls_transport_set_errno(session.session_, ENOBUFS);
    return -1;
  }
  const auto* first = static_cast<const std::byte*>(from);
  session.out_.insert(session.out_.end(), first, first + bytes);
  return static_cast<ssize_t>(bytes);
}

ssize_t TlsSession::pull(gnutls_transport_ptr_t self, void* into, std::size_t bytes) {
  auto& session = *static_cast<TlsSession*>(self);
  const std::size_t taken = std::min(bytes, session.in_end_ - session.in_begin_);
  if (taken == 0) {
    gnutls_transport_set_errno(session.session_, EAGAIN);
    return -1;
  }
  std::memcpy(into, session.in_.get() + session.in_begin_, taken);
  session.in_begin_ += taken;
  return static_cast<ssize_t>(taken);
}

int TlsSession::pull_waits(gnutls_transport_ptr_t self, unsigned /*ms*/) {
  const auto& session = *static_cast<TlsSession*>(self);
  return session.in_end_ != session.in_begin_ ? 1 : 0;
}

TlsSession::Step TlsSession::failed(int code) {
  problem_ = reason(code);
  return Step::kFailed;
}

// In the words of an administrator, where the cause can be told.
std::string TlsSession::reason(int code) const {
  if (code == GNUTLS_E_FATAL_ALERT_RECEIVED) {
    const char* name = gnutls_alert_get_name(gnutls_alert_get(session_));
    return std::string("the client refused: ") + (name != nullptr ? name : "for a reason of its own");
  }
  if (code == GNUTLS_E_CERTIFICATE_REQUIRED || code == GNUTLS_E_NO_CERTIFICATE_FOUND)
    return "the client has shown no certificate";
  if (code == GNUTLS_E_CERTIFICATE_VERIFICATION_ERROR) {
    const unsigned status = gnutls_session_get_verify_cert_status(session_);
    gnutls_datum_t text{};
    if (gnutls_certificate_verification_status_print(status, GNUTLS_CRT_X509, &text, 0) < 0)
      return gnutls_strerror(code);
    std::string why = "the client's certificate is not accepted: " +
                      std::string(reinterpret_cast<char*>(text.data), text.size);
    gnutls_free(text.data);
    return why.substr(0, why.find_last_not_of(" .") + 1);
  }
  if (!secured_ && !user_.name.empty()) {
    const std::string user = "user '" + printable(user_.name) + "' ";
    return user + (user_.known ? "has another key than in " : "is not in ") + user_.psk_file;
  }
  if (code == GNUTLS_E_UNEXPECTED_PACKET_LENGTH || code == GNUTLS_E_UNSUPPORTED_VERSION_PACKET ||
      code == GNUTLS_E_RECORD_OVERFLOW || code == GNUTLS_E_UNEXPECTED_PACKET) {
    return std::string("what the client sent is not TLS (") + gnutls_strerror(code) + ")";
  }
  return gnutls_strerror(code);
}

}  // namespace coppice::nbd
