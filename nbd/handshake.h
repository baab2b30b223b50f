// Handshake: the conversation before the first request, in which a client picks an export (fixed newstyle).
//
// Ends with an open device, or without one when the client left, broke the protocol or took too long. Each
// wait for the client is bounded by the deadline, which the server watches, and so are all of them together;
// the server's own work is not.
//
// Where TLS is required, nothing is answered but STARTTLS and ABORT until it is there. STARTTLS exchanges the
// socket for the relay's: no byte that came before is used after, and nothing that was agreed on before
// holds. Lives on the reactor's thread.
#pragma once

#include <chrono>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "nbd/block_status.h"
#include "nbd/exports.h"
#include "nbd/options.h"
#include "nbd/request.h"
#include "nbd/stream.h"
#include "nbd/tls_mode.h"
#include "nbd/tls_relay.h"

namespace coppice::nbd {

// When the client must have done its part. Zero: nobody waits for it.
struct Deadline {
  std::chrono::nanoseconds at{};
};

struct Attached {
  ExportShape shape;
  std::unique_ptr<BlockDevice> device;
  StatusContexts contexts;
};

class Handshake {
 public:
  struct Tls {
    TlsMode mode = TlsMode::kOff;
    const TlsCredentials* credentials = nullptr;
    std::unique_ptr<TlsRelay>* relay = nullptr;  // where it is put: it outlives the handshake
  };
  struct Options {
    Holder holder;
    std::chrono::nanoseconds patience = std::chrono::seconds(10);  // for one step of the client
    std::chrono::nanoseconds whole = std::chrono::minutes(1);      // for all of them
    Tls tls = {};
    std::string refusal = {};  // what each option is answered with, if that is all there is to say
  };
  Handshake(Reactor& reactor, int socket, StreamReader& reader, Exports& exports, Deadline& deadline,
            Options options);

  Task<std::optional<Attached>> run();
  // Where the client is served from now on.
  [[nodiscard]] int socket() const { return socket_; }
  // What the log should say about a client that got nothing; else empty.
  [[nodiscard]] const std::string& complaint() const { return complaint_; }

 private:
  // What is to happen after an option.
  enum class Next : std::uint8_t { kMore, kTransmission, kClose };

  Task<bool> greet();
  Task<Next> serve_option();
  Task<Next> dispatch(OptionHeader header, Option option);
  Task<Next> serve_form(Option option, OptionReplies replies);
  // For who can't be served, or not without TLS.
  [[nodiscard]] std::optional<OptionRefusal> refuse_all(OptionCode code);
  Task<Next> refuse(OptionHeader header, OptionRefusal refusal);
  Task<Next> start_tls(OptionReplies replies);
  [[nodiscard]] std::optional<OptionRefusal> refuse_tls();
  [[nodiscard]] bool encrypted() const {
    return options_.tls.relay != nullptr && *options_.tls.relay != nullptr;
  }
  Task<Next> serve_export_name(ExportNameOption option);
  Task<Next> serve_list(OptionReplies replies);
  Task<Next> serve_export(ExportOption option, OptionReplies replies);
  Task<Next> serve_meta_context(MetaContextOption option, OptionReplies replies);
  Task<Outcome<std::vector<std::string>>> bitmaps_for(const MetaContextOption& option);
  void choose(const std::string& export_name, const std::vector<MetaContext>& contexts);
  Task<Outcome<>> attach_contexts(std::string name);
  Task<Next> refuse_oversized(OptionHeader header);
  Task<Next> reply(OptionReplies replies, Next next);
  // Looks at the export for INFO, attaches it for GO and EXPORT_NAME.
  Task<Outcome<ExportInfo>> look_at(std::string name, bool attach);

  void expect_client();
  void release_client();
  [[nodiscard]] ExportShape shape_of(const ExportInfo& info) const;

  Reactor& reactor_;
  int socket_;
  StreamReader& reader_;
  Exports& exports_;
  Deadline& deadline_;
  Options options_;

  std::chrono::nanoseconds waiting_since_{};  // for the client; zero: not now
  std::string complaint_;
  bool fixed_newstyle_ = false;
  bool no_zeroes_ = false;
  HeaderForm form_ = HeaderForm::kSimple;
  // The contexts that were chosen; a choice for one export says nothing about another.
  struct Choice {
    std::string export_name;
    bool allocation = false;
    bool depth = false;
    std::vector<DirtyBitmap> bitmaps;
  };
  Choice choice_;
  [[nodiscard]] bool has_contexts(const std::string& name) const {
    return choice_.export_name == name && (choice_.allocation || choice_.depth || !choice_.bitmaps.empty());
  }
  Attached attached_;
};

}  // namespace coppice::nbd
