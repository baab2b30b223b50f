// ReplyWatch: whether what a server sends is what a client can follow: each reply begins where the one before
// ended, with the magic of what was agreed on.
//
// With simple replies only a client that remembers its requests can know where the next begins; there only
// the handshake is looked at.
#pragma once

#include <array>

#include "fuzz.h"
#include "nbd/protocol.h"

namespace coppice::fuzz {

class ReplyWatch {
 public:
  void take(Input bytes);
  // The handshake is over, and an export was attached.
  void begin_transmission(nbd::HeaderForm form);
  // All was sent.
  void finish() const;

 private:
  enum class Phase : std::uint8_t { kGreeting, kOptions, kExportName, kTransmission, kUnframed };
  void look_at_head();
  void look_at_option();
  void look_at_reply();
  [[nodiscard]] std::size_t wanted_bytes() const;
  void expect_body(std::uint64_t bytes);

  Phase phase_ = Phase::kGreeting;
  nbd::HeaderForm form_ = nbd::HeaderForm::kSimple;
  std::array<std::byte, sizeof(nbd::ExtendedChunkHeader)> head_{};
  std::size_t head_bytes_ = 0;
  std::uint64_t body_bytes_ = 0;       // still to come
  std::size_t export_name_bytes_ = 0;  // of the one answer without a head
};

}  // namespace coppice::fuzz
