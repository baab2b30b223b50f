#include "cli/attach_text.h"

#include <algorithm>
#include <string_view>

namespace coppice::cli {
namespace {

constexpr const char* kReconnectSeconds = "30";
constexpr std::size_t kMaxQemuNodeName = 31;
constexpr std::string_view kLettersAndDigits =
    "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789";

bool only_of(std::string_view text, std::string_view more) {
  return std::ranges::all_of(
      text, [more](char byte) { return kLettersAndDigits.contains(byte) || more.contains(byte); });
}

// QEMU's option syntax: a comma in a value is written twice.
std::string qemu_value(const std::string& text) {
  std::string value;
  for (const char byte : text) value += byte == ',' ? ",," : std::string(1, byte);
  return value;
}

// QEMU's node names start with a letter, hold few other characters and are short.
std::string qemu_node_name(const std::string& export_name) {
  std::string name = "coppice-" + export_name;
  for (char& byte : name) {
    if (!only_of({&byte, 1}, "-._")) byte = '-';
  }
  return name.substr(0, kMaxQemuNodeName);
}

std::string shell_quoted(const std::string& text) {
  if (only_of(text, "-_./:=,@+")) return text;
  std::string quoted = "'";
  for (const char byte : text) quoted += byte == '\'' ? "'\\''" : std::string(1, byte);
  return quoted + "'";
}

std::string xml_escaped(const std::string& text) {
  std::string escaped;
  for (const char byte : text) {
    if (byte == '&') {
      escaped += "&amp;";
    } else if (byte == '<') {
      escaped += "&lt;";
    } else if (byte == '\'') {
      escaped += "&apos;";
    } else {
      escaped += byte;
    }
  }
  return escaped;
}

}  // namespace

std::string qemu_blockdev(const nbd::Endpoint& endpoint, const std::string& export_name, bool read_only) {
  std::string value = "driver=nbd,node-name=" + qemu_node_name(export_name);
  if (const auto* local = std::get_if<nbd::UnixEndpoint>(&endpoint)) {
    value += ",server.type=unix,server.path=" + qemu_value(local->path);
  } else {
    const auto& remote = std::get<nbd::TcpEndpoint>(endpoint);
    value += ",server.type=inet,server.host=" + qemu_value(remote.host) +
             ",server.port=" + std::to_string(remote.port);
  }
  if (nbd::uses_tls(endpoint)) value += ",tls-creds=tls0";
  value += ",export=" + export_name + ",reconnect-delay=" + kReconnectSeconds;
  value += read_only ? ",read-only=on" : ",discard=unmap";
  return "-blockdev " + shell_quoted(value);
}

std::string libvirt_disk(const nbd::Endpoint& endpoint, const std::string& export_name, bool read_only) {
  std::string host;
  if (const auto* local = std::get_if<nbd::UnixEndpoint>(&endpoint)) {
    host = "transport='unix' socket='" + xml_escaped(local->path) + "'";
  } else {
    const auto& remote = std::get<nbd::TcpEndpoint>(endpoint);
    host = "name='" + xml_escaped(remote.host) + "' port='" + std::to_string(remote.port) + "'";
  }
  std::string xml = "<disk type='network' device='disk'>\n";
  xml += "  <driver name='qemu' type='raw' cache='none' discard='unmap'/>\n";
  const std::string tls = nbd::uses_tls(endpoint) ? " tls='yes'" : "";
  xml += "  <source protocol='nbd' name='" + xml_escaped(export_name) + "'" + tls + ">\n";
  xml += "    <host " + host + "/>\n";
  xml += std::string("    <reconnect delay='") + kReconnectSeconds + "'/>\n";
  xml += "  </source>\n";
  xml += "  <target dev='vda' bus='virtio'/>\n";
  if (read_only) xml += "  <readonly/>\n";
  return xml + "</disk>\n";
}

}  // namespace coppice::cli
