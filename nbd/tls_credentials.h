// TlsCredentials: what the server shows its clients and demands of them: certificates, keys of users (PSK),
// or both.
//
// Certificates are read once; the keys file by each handshake, so that users come and go without a restart.
// Shared by all sessions; any thread.
#pragma once

#include <gnutls/gnutls.h>

#include <memory>
#include <string>
#include <utility>

#include "coppice/result.h"

namespace coppice::nbd {

struct TlsOptions {
  // A folder as QEMU and libnbd have it: server-cert.pem, server-key.pem, ca-cert.pem to verify clients by,
  // and ca-crl.pem where there is one.
  std::string certificates = {};
  std::string psk_file = {};  // as psktool writes it
  bool verify_peer = false;   // clients show a certificate of ca-cert.pem's
};

// Who a session's client says it is, for the log; filled in by its handshake.
struct TlsUser {
  std::string psk_file;  // where it is looked for
  std::string name = {};
  bool known = false;
};

class TlsCredentials {
 public:
  static Outcome<std::unique_ptr<TlsCredentials>> load(const TlsOptions& options);
  TlsCredentials(const TlsCredentials&) = delete;
  TlsCredentials& operator=(const TlsCredentials&) = delete;
  ~TlsCredentials();

  // For a new session of a server; gnutls' code. The user outlives the session.
  int equip(gnutls_session_t session, TlsUser& user) const;
  // Something that clients will stumble over, or empty.
  [[nodiscard]] std::string warning() const;

 private:
  explicit TlsCredentials(TlsOptions options) : options_(std::move(options)) {}
  Outcome<> load_certificates();
  Outcome<> load_authority(const std::string& file);
  Outcome<> load_keys();

  TlsOptions options_;
  gnutls_certificate_credentials_t certificates_ = nullptr;
  gnutls_psk_server_credentials_t keys_ = nullptr;
};

}  // namespace coppice::nbd
