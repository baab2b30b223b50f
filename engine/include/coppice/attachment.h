// Attachments: rights to write to a disk, one at a time.
//
// An attachment has a token, which its owner shows, and an epoch, which rises with each attachment of the
// disk and survives restarts. One of them writes. An incoming one, of a migration's destination, reads until
// its first write: that one makes it the writer and fences all older ones. Before it is carried out, every
// write of theirs has ended and the fence is durable. What is fenced reads and flushes, and writes no more.
#pragma once

#include <cstdint>
#include <string>

namespace coppice {

struct AttachOptions {
  bool incoming = false;
  std::string label = {};  // whose it is, for people
};

struct AttachmentInfo {
  enum class State : std::uint8_t { kActive, kIncoming, kFenced } state = State::kFenced;
  std::string token;
  std::uint64_t epoch = 0;
  std::string label;
  std::int64_t created_unix_ms = 0;
  std::string client;  // who has it open; empty: nobody at the moment
};

}  // namespace coppice
