// The options of the handshake: their payloads taken apart, their replies put together.
//
// Every length in a payload is checked against what is there; whatever bytes come, parsing ends with an
// option or a refusal that can be sent. Pure; any thread.
#pragma once

#include <expected>
#include <span>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "nbd/protocol.h"

namespace coppice::nbd {

struct ExportNameOption {
  std::string name;
};
struct AbortOption {};
struct ListOption {};
struct StartTlsOption {};
struct StructuredReplyOption {};
struct ExtendedHeadersOption {};
// GO, or INFO when `go` is false.
struct ExportOption {
  bool go = false;
  std::string name;
  bool wants_name = false;
  bool wants_description = false;
};
// SET_META_CONTEXT, or LIST_META_CONTEXT when `select` is false.
struct MetaContextOption {
  bool select = false;
  std::string name;
  std::vector<std::string> queries;
};
using Option = std::variant<ExportNameOption, AbortOption, ListOption, StartTlsOption, StructuredReplyOption,
                            ExtendedHeadersOption, ExportOption, MetaContextOption>;

struct OptionRefusal {
  OptionReplyCode code = OptionReplyCode::kErrorInvalid;
  std::string text;
};

std::expected<Option, OptionRefusal> parse_option(std::uint32_t code, std::span<const std::byte> payload);

struct MetaContext {
  std::uint32_t id = 0;  // 0 where they are only listed
  std::string name;
};
// The bitmaps that the queries name, by what follows `qemu:dirty-bitmap:`, each once.
std::vector<std::string> named_bitmaps(const MetaContextOption& option);
// Whether all bitmaps are asked for: by a query for their namespace, or by none at all.
bool asks_for_all_bitmaps(const MetaContextOption& option);
// The contexts that the queries ask for, each once; `bitmaps` are those that are there.
std::vector<MetaContext> match_contexts(const MetaContextOption& option,
                                        std::span<const std::string> bitmaps);

// One or more replies to one option, to be sent in one go.
class OptionReplies {
 public:
  explicit OptionReplies(std::uint32_t option) : option_(option) {}

  void acknowledge() { add(OptionReplyCode::kAck, {}); }
  void refuse(OptionReplyCode code, std::string_view text);
  void server(std::string_view name, std::string_view description);
  void info_export(std::uint64_t size_bytes, std::uint16_t flags);
  void info_block_size();
  void info_text(InfoCode code, std::string_view text);
  void meta_context(const MetaContext& context);

  [[nodiscard]] std::span<const std::byte> bytes() const { return bytes_; }

 private:
  // Reply payloads are given in pieces, so that nothing is copied twice.
  void add(OptionReplyCode code, std::initializer_list<std::span<const std::byte>> pieces);
  std::uint32_t option_;
  std::vector<std::byte> bytes_;
};

// A client's name for something, safe to print: at most 255 bytes, without control characters.
std::string printable(std::string_view name);

}  // namespace coppice::nbd
