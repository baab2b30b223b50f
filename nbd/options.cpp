#include "nbd/options.h"

#include <algorithm>
#include <initializer_list>
#include <optional>

namespace coppice::nbd {

namespace {

using Parsed = std::expected<Option, OptionRefusal>;

std::unexpected<OptionRefusal> invalid(std::string text) {
  return std::unexpected(OptionRefusal{OptionReplyCode::kErrorInvalid, std::move(text)});
}

std::span<const std::byte> as_bytes(std::string_view text) {
  return std::as_bytes(std::span(text));
}

// Takes a payload apart from the front. What isn't there comes back empty.
class PayloadReader {
 public:
  explicit PayloadReader(std::span<const std::byte> payload) : rest_(payload) {}

  template <WireStruct T>
  std::optional<T> number() {
    if (rest_.size() < sizeof(T)) return std::nullopt;
    const T value = decode<T>(rest_);
    rest_ = rest_.subspan(sizeof(T));
    return value;
  }

  std::optional<std::string> text(std::size_t bytes) {
    if (rest_.size() < bytes) return std::nullopt;
    std::string value(reinterpret_cast<const char*>(rest_.data()), bytes);
    rest_ = rest_.subspan(bytes);
    return value;
  }

  // A 32-bit length and as many bytes.
  std::optional<std::string> counted_text() {
    const auto length = number<Big32>();
    if (!length || *length > kMaxNameBytes) return std::nullopt;
    return text(*length);
  }

  [[nodiscard]] bool at_end() const { return rest_.empty(); }
  [[nodiscard]] std::size_t left() const { return rest_.size(); }

 private:
  std::span<const std::byte> rest_;
};

Parsed parse_export_name(PayloadReader reader) {
  if (reader.left() > kMaxNameBytes) return invalid("export name is longer than 4096 bytes");
  return ExportNameOption{*reader.text(reader.left())};
}

Parsed parse_export(PayloadReader reader, bool go) {
  ExportOption option;
  option.go = go;
  auto name = reader.counted_text();
  if (!name) return invalid("export name runs past the option, or is longer than 4096 bytes");
  option.name = std::move(*name);
  const auto count = reader.number<Big16>();
  if (!count) return invalid("option ends before the number of information requests");
  for (unsigned index = 0; index < *count; ++index) {
    const auto code = reader.number<Big16>();
    if (!code) return invalid("option ends before its last information request");
    const auto wanted = static_cast<InfoCode>(static_cast<std::uint16_t>(*code));
    option.wants_name |= wanted == InfoCode::kName;
    option.wants_description |= wanted == InfoCode::kDescription;
  }
  if (!reader.at_end()) return invalid("option is longer than what it holds");
  return option;
}

Parsed parse_meta_context(PayloadReader reader, bool select) {
  MetaContextOption option;
  option.select = select;
  auto name = reader.counted_text();
  if (!name) return invalid("export name runs past the option, or is longer than 4096 bytes");
  option.name = std::move(*name);
  const auto count = reader.number<Big32>();
  if (!count) return invalid("option ends before the number of queries");
  for (std::uint32_t index = 0; index < *count; ++index) {
    auto query = reader.counted_text();
    if (!query) return invalid("query runs past the option, or is longer than 4096 bytes");
    option.queries.push_back(std::move(*query));
  }
  if (!reader.at_end()) return invalid("option is longer than what it holds");
  return option;
}

// By its name, or where contexts are listed by its namespace or without any query.
bool asks_for(const MetaContextOption& option, std::string_view context, std::string_view name_space) {
  if (!option.select && option.queries.empty()) return true;
  return std::ranges::any_of(option.queries, [&](const std::string& query) {
    return query == context || (!option.select && query == name_space);
  });
}

template <class T>
Parsed parse_empty(PayloadReader reader) {
  if (!reader.at_end()) return invalid("this option has no payload");
  return T{};
}

}  // namespace

std::expected<Option, OptionRefusal> parse_option(std::uint32_t code, std::span<const std::byte> payload) {
  const PayloadReader reader(payload);
  switch (static_cast<OptionCode>(code)) {
    case OptionCode::kExportName:
      return parse_export_name(reader);
    case OptionCode::kAbort:
      return AbortOption{};
    case OptionCode::kList:
      return parse_empty<ListOption>(reader);
    case OptionCode::kStartTls:
      return parse_empty<StartTlsOption>(reader);
    case OptionCode::kInfo:
    case OptionCode::kGo:
      return parse_export(reader, static_cast<OptionCode>(code) == OptionCode::kGo);
    case OptionCode::kStructuredReply:
      return parse_empty<StructuredReplyOption>(reader);
    case OptionCode::kExtendedHeaders:
      return parse_empty<ExtendedHeadersOption>(reader);
    case OptionCode::kListMetaContext:
    case OptionCode::kSetMetaContext:
      return parse_meta_context(reader, static_cast<OptionCode>(code) == OptionCode::kSetMetaContext);
  }
  return std::unexpected(OptionRefusal{OptionReplyCode::kErrorUnsupported, "option is not known"});
}

std::vector<std::string> named_bitmaps(const MetaContextOption& option) {
  std::vector<std::string> names;
  for (const std::string& query : option.queries) {
    if (!query.starts_with(kDirtyBitmap) || query.size() == kDirtyBitmap.size()) continue;
    std::string name = query.substr(kDirtyBitmap.size());
    if (std::ranges::find(names, name) == names.end()) names.push_back(std::move(name));
  }
  return names;
}

bool asks_for_all_bitmaps(const MetaContextOption& option) {
  if (option.select) return false;
  return option.queries.empty() || std::ranges::any_of(option.queries, [](const std::string& query) {
           return query == kQemuNamespace || query == kDirtyBitmap;
         });
}

std::vector<MetaContext> match_contexts(const MetaContextOption& option,
                                        std::span<const std::string> bitmaps) {
  std::vector<MetaContext> contexts;
  const auto add = [&](std::uint32_t id, std::string name) {
    contexts.push_back({.id = option.select ? id : 0, .name = std::move(name)});
  };
  if (asks_for(option, kBaseAllocation, kBaseNamespace)) add(kBaseAllocationId, std::string(kBaseAllocation));
  if (asks_for(option, kAllocationDepth, kQemuNamespace)) {
    add(kAllocationDepthId, std::string(kAllocationDepth));
  }
  std::uint32_t id = kFirstBitmapId;
  for (const std::string& bitmap : bitmaps) add(id++, std::string(kDirtyBitmap) + bitmap);
  return contexts;
}

void OptionReplies::refuse(OptionReplyCode code, std::string_view text) {
  add(code, {as_bytes(text.substr(0, kMaxNameBytes))});
}

void OptionReplies::server(std::string_view name, std::string_view description) {
  const Big32 name_bytes(static_cast<std::uint32_t>(name.size()));
  add(OptionReplyCode::kServer, {bytes_of(name_bytes), as_bytes(name), as_bytes(description)});
}

void OptionReplies::info_export(std::uint64_t size_bytes, std::uint16_t flags) {
  const InfoExport info{.size_bytes = size_bytes, .flags = flags};
  add(OptionReplyCode::kInfo, {bytes_of(info)});
}

void OptionReplies::info_block_size() {
  const InfoBlockSize info;
  add(OptionReplyCode::kInfo, {bytes_of(info)});
}

void OptionReplies::info_text(InfoCode code, std::string_view text) {
  const Big16 number(static_cast<std::uint16_t>(code));
  add(OptionReplyCode::kInfo, {bytes_of(number), as_bytes(text)});
}

void OptionReplies::meta_context(const MetaContext& context) {
  const Big32 id(context.id);
  add(OptionReplyCode::kMetaContext, {bytes_of(id), as_bytes(context.name)});
}

void OptionReplies::add(OptionReplyCode code, std::initializer_list<std::span<const std::byte>> pieces) {
  std::size_t length_bytes = 0;
  for (const auto piece : pieces) length_bytes += piece.size();
  const OptionReplyHeader header{.option = option_,
                                 .code = static_cast<std::uint32_t>(code),
                                 .length_bytes = static_cast<std::uint32_t>(length_bytes)};
  const auto head = bytes_of(header);
  bytes_.insert(bytes_.end(), head.begin(), head.end());
  for (const auto piece : pieces) bytes_.insert(bytes_.end(), piece.begin(), piece.end());
}

std::string printable(std::string_view name) {
  std::string text(name.substr(0, 255));
  std::ranges::replace_if(text, [](char letter) { return letter < ' ' || letter == '\x7f'; }, '?');
  return text;
}

}  // namespace coppice::nbd
