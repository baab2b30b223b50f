// What `serve` is told about its clients: where they find it, what each listener shows them, the keys for
// TLS, and how much they may ask for.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "cli/parser.h"
#include "coppice/result.h"
#include "nbd/limits.h"
#include "nbd/listen_spec.h"
#include "nbd/tls_credentials.h"

namespace coppice::cli {

struct ListenOptions {
  std::vector<std::string> listen = {};
  std::string tls_certificates = {};
  std::string tls_psk = {};
  bool tls_verify_peer = false;
  std::string max_connections = "1024";
  std::string handshake_timeout = "60s";
  std::string idle_timeout = "off";
};
void add_listen_options(Parser& parser, ListenOptions& options);

struct Listeners {
  std::vector<nbd::ListenSpec> specs = {};  // none: nothing is served over NBD
  nbd::Limits limits = {};
  std::shared_ptr<const nbd::TlsCredentials> credentials = {};
};
// Takes the sockets that systemd passed, if any: once, before there are threads.
Outcome<Listeners> listeners_of(const ListenOptions& options, const std::string& store);
// Makes room for as many clients as may come. Answers what is in the way, or nothing.
std::string raise_descriptor_limit(const Listeners& listeners);

}  // namespace coppice::cli
