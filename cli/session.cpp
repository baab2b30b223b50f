#include "cli/session.h"

#include <chrono>

namespace coppice::cli {
namespace {

using Clock = std::chrono::steady_clock;
constexpr std::chrono::seconds kPatience{20};
// Between two looks whether the holder has become a daemon that answers.
constexpr std::chrono::seconds kOneWait{2};

// What holds of a store for good was said when it was made, and is said by the daemon: not by every verb.
bool was_said(const std::string& notice) {
  return notice.find("O_DIRECT") != std::string::npos;
}

}  // namespace

Session::~Session() {
  if (direct_) static_cast<void>(close());
}

Outcome<Json> Session::call(const Request& request) {
  auto reached = reach();
  if (!reached) return std::unexpected(reached.error());
  return client_ ? client_->call(request) : direct_->call(request);
}

Outcome<> Session::close() {
  client_.reset();
  if (!direct_) return {};
  auto closed = direct_->close();
  direct_.reset();
  return closed;
}

// Whoever holds the lock is a daemon that starts or ends, or another command like this one: none of them
// holds it for long without answering.
Outcome<> Session::reach() {
  const auto deadline = Clock::now() + kPatience;
  while (!client_ && !direct_) {
    auto client = ControlClient::connect(store_);
    if (!client) return std::unexpected(client.error());
    if (*client) {
      client_ = std::move(*client);
      break;
    }
    auto direct =
        DirectStore::open(store_, mode_, kOneWait, [this](const std::string& text) { tell_once(text); });
    if (direct) {
      direct_ = std::move(*direct);
    } else if (direct.error().kind != ErrorKind::kBusy || Clock::now() >= deadline) {
      return std::unexpected(direct.error());
    }
  }
  return {};
}

void Session::tell_once(const std::string& text) {
  if (!was_said(text) && told_.insert(text).second) notice_(text);
}

Outcome<> refuse_served(const std::string& store) {
  auto client = ControlClient::connect(store);
  if (!client) return std::unexpected(client.error());
  if (!*client) return {};
  return refuse(ErrorKind::kBusy, "store " + store + " is in use by `coppice serve`, process " +
                                      std::to_string((*client)->daemon_pid()) + ": stop it first");
}

}  // namespace coppice::cli
