// The part of the handshake that decides who is served at all: TLS, and for how long a client is waited for.
#include <algorithm>

#include "nbd/handshake.h"

namespace coppice::nbd {

std::optional<OptionRefusal> Handshake::refuse_all(OptionCode code) {
  if (code == OptionCode::kAbort) return std::nullopt;
  if (!options_.refusal.empty()) return OptionRefusal{OptionReplyCode::kErrorPolicy, options_.refusal};
  if (options_.tls.mode != TlsMode::kRequire || encrypted()) return std::nullopt;
  // Who doesn't speak the fixed newstyle can't be asked for TLS, nor be told of an error.
  if (code == OptionCode::kStartTls && fixed_newstyle_) return std::nullopt;
  complaint_ = "it does without TLS, which is required here (nbds://; tls=require)";
  return OptionRefusal{OptionReplyCode::kErrorTlsRequired, "TLS is required: start it first (nbds://)"};
}

std::optional<OptionRefusal> Handshake::refuse_tls() {
  if (encrypted()) return OptionRefusal{OptionReplyCode::kErrorInvalid, "TLS is there already"};
  if (options_.tls.mode != TlsMode::kOff && fixed_newstyle_) return std::nullopt;
  complaint_ = "it asked for TLS, which this listener does without (tls=off, or no certificate and no keys)";
  return OptionRefusal{OptionReplyCode::kErrorPolicy, "TLS is off here"};
}

Task<Handshake::Next> Handshake::start_tls(OptionReplies replies) {
  if (const auto refusal = refuse_tls()) {
    replies.refuse(refusal->code, refusal->text);
    const Next next = co_await reply(std::move(replies), Next::kMore);
    co_return next;
  }
  // An honest client waits for the answer. What stands behind the option was put there, perhaps by somebody
  // else on the way, to be taken for something that came through TLS.
  if (!reader_.buffered().empty()) {
    complaint_ = "it sent something in the clear behind STARTTLS";
    co_return Next::kClose;
  }
  replies.acknowledge();
  Next next = co_await reply(std::move(replies), Next::kMore);
  if (next != Next::kMore) co_return next;
  form_ = HeaderForm::kSimple;
  choice_ = {};
  complaint_.clear();
  auto relay = TlsRelay::start(socket_, *options_.tls.credentials);
  if (!relay) {
    complaint_ = relay.error().message;
    co_return Next::kClose;
  }
  socket_ = (*relay)->inner();
  reader_.continue_on(socket_);
  *options_.tls.relay = std::move(*relay);
  co_return Next::kMore;
}

void Handshake::expect_client() {
  release_client();
  waiting_since_ = reactor_.now();
  deadline_.at = waiting_since_ + std::min(options_.patience, options_.whole);
}

void Handshake::release_client() {
  // Zero would be no deadline at all.
  constexpr std::chrono::nanoseconds kLeast{1};
  if (waiting_since_.count() != 0)
    options_.whole = std::max(kLeast, options_.whole - (reactor_.now() - waiting_since_));
  waiting_since_ = {};
  deadline_.at = {};
}

}  // namespace coppice::nbd
