#include "nbd/tls_credentials.h"

#include <fcntl.h>
#include <gnutls/x509.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <ctime>
#include <fstream>
#include <string_view>

namespace coppice::nbd {

namespace {

// TLS 1.2 is the least that the protocol asks for; users' keys are not among gnutls' usual ways.
constexpr const char* kPriorities = "NORMAL:-VERS-ALL:+VERS-TLS1.3:+VERS-TLS1.2:+ECDHE-PSK:+DHE-PSK:+PSK";

std::unexpected<Failure> unusable(const std::string& file, const std::string& reason) {
  return refuse(ErrorKind::kInvalid, "TLS: " + file + ": " + reason);
}

Outcome<> require_readable(const std::string& file, const std::string& remedy) {
  const int descriptor = ::open(file.c_str(), O_RDONLY | O_CLOEXEC);
  if (descriptor < 0) return unusable(file, std::strerror(errno) + std::string(": ") + remedy);
  ::close(descriptor);
  return {};
}

bool is_key_line(std::string_view line) {
  const auto colon = line.rfind(':');
  if (colon == line.npos || colon == 0 || colon + 1 == line.size()) return false;
  const std::string_view key = line.substr(colon + 1);
  return key.size() % 2 == 0 && key.find_first_not_of("0123456789abcdefABCDEF") == key.npos;
}

// The key of whoever asks, from the file as it is now. gnutls takes 1 for a user who isn't there, and goes on
// with a key made up, so that a stranger doesn't learn who is.
int find_key(gnutls_session_t session, const char* name, gnutls_datum_t* key) {
  auto& user = *static_cast<TlsUser*>(gnutls_session_get_ptr(session));
  user.name = name;
  std::ifstream lines(user.psk_file);
  if (!lines) return -1;
  std::string line;
  while (std::getline(lines, line)) {
    if (!is_key_line(line) || line.substr(0, line.rfind(':')) != user.name) continue;
    std::string hex = line.substr(line.rfind(':') + 1);
    const gnutls_datum_t from{reinterpret_cast<unsigned char*>(hex.data()),
                              static_cast<unsigned>(hex.size())};
    user.known = true;
    return gnutls_hex_decode2(&from, key) < 0 ? -1 : 0;
  }
  return 1;
}

}  // namespace

Outcome<std::unique_ptr<TlsCredentials>> TlsCredentials::load(const TlsOptions& options) {
  if (options.verify_peer && options.certificates.empty()) {
    return refuse(ErrorKind::kInvalid,
                  "TLS: certificates of clients are verified by a ca-cert.pem: give its folder with "
                  "--tls-certificates");
  }
  auto credentials = std::unique_ptr<TlsCredentials>(new TlsCredentials(options));
  if (!options.certificates.empty()) {
    if (auto loaded = credentials->load_certificates(); !loaded) return std::unexpected(loaded.error());
  }
  if (!options.psk_file.empty()) {
    if (auto loaded = credentials->load_keys(); !loaded) return std::unexpected(loaded.error());
  }
  return credentials;
}

TlsCredentials::~TlsCredentials() {
  if (certificates_ != nullptr) gnutls_certificate_free_credentials(certificates_);
  if (keys_ != nullptr) gnutls_psk_free_server_credentials(keys_);
}

Outcome<> TlsCredentials::load_certificates() {
  const std::string certificate = options_.certificates + "/server-cert.pem";
  const std::string key = options_.certificates + "/server-key.pem";
  for (const std::string& file : {certificate, key}) {
    auto there = require_readable(file, "the folder of --tls-certificates needs it, readable by this user");
    if (!there) return there;
  }
  if (gnutls_certificate_allocate_credentials(&certificates_) < 0)
    return unusable(certificate, "out of memory");
  if (auto loaded = load_authority(options_.certificates + "/ca-cert.pem"); !loaded) return loaded;
  const int code = gnutls_certificate_set_x509_key_file2(certificates_, certificate.c_str(), key.c_str(),
                                                         GNUTLS_X509_FMT_PEM, nullptr, 0);
  if (code == GNUTLS_E_CERTIFICATE_KEY_MISMATCH) {
    return unusable(
        key, "it is not the key of server-cert.pem beside it: put the two together that were made together");
  }
  if (code < 0)
    return unusable(certificate,
                    std::string("it or server-key.pem beside it cannot be used: ") + gnutls_strerror(code));
  return {};
}

// Only who verifies clients needs it. A revocation list that is there is held to.
Outcome<> TlsCredentials::load_authority(const std::string& file) {
  const bool there = ::access(file.c_str(), F_OK) == 0;
  if (!there && !options_.verify_peer) return {};
  auto readable = require_readable(file, "clients are verified by it");
  if (!readable) return readable;
  const int count = gnutls_certificate_set_x509_trust_file(certificates_, file.c_str(), GNUTLS_X509_FMT_PEM);
  if (count < 0) return unusable(file, std::string("it cannot be used: ") + gnutls_strerror(count));
  if (count == 0) return unusable(file, "it holds no certificate");
  const std::string revoked = options_.certificates + "/ca-crl.pem";
  if (::access(revoked.c_str(), F_OK) != 0) return {};
  readable = require_readable(revoked, "revoked certificates are told by it");
  if (!readable) return readable;
  const int lists = gnutls_certificate_set_x509_crl_file(certificates_, revoked.c_str(), GNUTLS_X509_FMT_PEM);
  if (lists < 0) return unusable(revoked, std::string("it cannot be used: ") + gnutls_strerror(lists));
  return {};
}

Outcome<> TlsCredentials::load_keys() {
  const std::string& file = options_.psk_file;
  auto there = require_readable(file, "make it with 'psktool -u USER -p FILE', readable by this user");
  if (!there) return there;
  std::ifstream lines(file);
  std::string line;
  std::size_t number = 0;
  std::size_t users = 0;
  while (std::getline(lines, line)) {
    ++number;
    if (line.empty()) continue;
    if (!is_key_line(line))
      return unusable(file, "line " + std::to_string(number) + " is not USER:KEY in hexadecimal");
    ++users;
  }
  if (users == 0) return unusable(file, "it holds no keys: make one with 'psktool -u USER -p FILE'");
  if (gnutls_psk_allocate_server_credentials(&keys_) < 0) return unusable(file, "out of memory");
  gnutls_psk_set_server_credentials_function(keys_, &find_key);
  return {};
}

int TlsCredentials::equip(gnutls_session_t session, TlsUser& user) const {
  static unsigned char client_oid[] = GNUTLS_KP_TLS_WWW_CLIENT;
  static gnutls_typed_vdata_st client_purpose{
      .type = GNUTLS_DT_KEY_PURPOSE_OID, .data = client_oid, .size = 0};
  user.psk_file = options_.psk_file;
  gnutls_session_set_ptr(session, &user);
  int code = gnutls_priority_set_direct(session, kPriorities, nullptr);
  if (code >= 0 && certificates_ != nullptr) {
    code = gnutls_credentials_set(session, GNUTLS_CRD_CERTIFICATE, certificates_);
    gnutls_certificate_server_set_request(session,
                                          options_.verify_peer ? GNUTLS_CERT_REQUIRE : GNUTLS_CERT_IGNORE);
    // A server's certificate of the same authority is no client's.
    if (options_.verify_peer) gnutls_session_set_verify_cert2(session, &client_purpose, 1, 0);
  }
  if (code >= 0 && keys_ != nullptr) code = gnutls_credentials_set(session, GNUTLS_CRD_PSK, keys_);
  return code;
}

std::string TlsCredentials::warning() const {
  if (certificates_ == nullptr) return "";
  gnutls_x509_crt_t* chain = nullptr;
  unsigned count = 0;
  if (gnutls_certificate_get_x509_crt(certificates_, 0, &chain, &count) < 0) return "";
  const std::time_t now = std::time(nullptr);
  const bool expired = count != 0 && gnutls_x509_crt_get_expiration_time(chain[0]) < now;
  for (unsigned index = 0; index < count; ++index) gnutls_x509_crt_deinit(chain[index]);
  gnutls_free(static_cast<void*>(chain));
  if (!expired) return "";
  return "TLS: " + options_.certificates +
         "/server-cert.pem has expired: clients will refuse it; make a new one";
}

}  // namespace coppice::nbd
