#include "nbd/handshake.h"

#include <algorithm>
#include <array>
#include <utility>

namespace coppice::nbd {

namespace {

// The longest honest conversation lists and asks about each export once; this ends a client that never
// comes to the point.
constexpr unsigned kMaxOptions = 4096;

OptionReplyCode reply_code(const Failure& failure) {
  const bool unknown = failure.kind == ErrorKind::kNotFound || failure.kind == ErrorKind::kInvalid;
  return unknown ? OptionReplyCode::kErrorUnknown : OptionReplyCode::kErrorPolicy;
}

}  // namespace

Handshake::Handshake(Reactor& reactor, int socket, StreamReader& reader, Exports& exports, Deadline& deadline,
                     Options options)
    : reactor_(reactor),
      socket_(socket),
      reader_(reader),
      exports_(exports),
      deadline_(deadline),
      options_(std::move(options)) {}

Task<std::optional<Attached>> Handshake::run() {
  expect_client();
  Next next = Next::kClose;
  const bool greeted = co_await greet();
  if (greeted) next = Next::kMore;
  for (unsigned count = 0; next == Next::kMore && count < kMaxOptions; ++count) {
    expect_client();
    next = co_await serve_option();
  }
  release_client();
  if (next != Next::kTransmission) co_return std::nullopt;
  co_return std::move(attached_);
}

Task<bool> Handshake::greet() {
  const Greeting greeting;
  const auto bytes = bytes_of(greeting);
  bool good = co_await send_all(reactor_, socket_, bytes);
  if (good) good = co_await reader_.fill(sizeof(Big32));
  if (!good) co_return false;
  const std::uint32_t flags = decode<Big32>(reader_.buffered());
  reader_.consume(sizeof(Big32));
  no_zeroes_ = (flags & kClientFlagNoZeroes) != 0;
  fixed_newstyle_ = (flags & kClientFlagFixedNewstyle) != 0;
  co_return (flags & ~(kClientFlagFixedNewstyle | kClientFlagNoZeroes)) == 0;
}

Task<Handshake::Next> Handshake::serve_option() {
  const bool came = co_await reader_.fill(sizeof(OptionHeader));
  if (!came) co_return Next::kClose;
  const auto header = decode<OptionHeader>(reader_.buffered());
  reader_.consume(sizeof(OptionHeader));
  if (header.magic != kOptionMagic) co_return Next::kClose;
  if (header.length_bytes > kMaxOptionBytes) {
    const Next next = co_await refuse_oversized(header);
    co_return next;
  }
  const bool whole = co_await reader_.fill(header.length_bytes);
  if (!whole) co_return Next::kClose;
  auto option = parse_option(header.code, reader_.buffered().first(header.length_bytes));
  reader_.consume(header.length_bytes);
  Next next = Next::kMore;
  if (auto refusal = refuse_all(static_cast<OptionCode>(std::uint32_t{header.code}))) {
    next = co_await refuse(header, std::move(*refusal));
  } else if (option) {
    next = co_await dispatch(header, std::move(*option));
  } else {
    next = co_await refuse(header, std::move(option.error()));
  }
  co_return next;
}

Task<Handshake::Next> Handshake::refuse(OptionHeader header, OptionRefusal refusal) {
  // EXPORT_NAME has no way to be told.
  if (static_cast<OptionCode>(std::uint32_t{header.code}) == OptionCode::kExportName) co_return Next::kClose;
  OptionReplies replies(header.code);
  replies.refuse(refusal.code, refusal.text);
  const Next next = co_await reply(std::move(replies), Next::kMore);
  co_return next;
}

Task<Handshake::Next> Handshake::dispatch(OptionHeader header, Option option) {
  OptionReplies replies(header.code);
  Next next = Next::kMore;
  if (auto* by_name = std::get_if<ExportNameOption>(&option)) {
    next = co_await serve_export_name(std::move(*by_name));
  } else if (auto* chosen = std::get_if<ExportOption>(&option)) {
    next = co_await serve_export(std::move(*chosen), std::move(replies));
  } else if (auto* contexts = std::get_if<MetaContextOption>(&option)) {
    next = co_await serve_meta_context(std::move(*contexts), std::move(replies));
  } else if (std::holds_alternative<ListOption>(option)) {
    next = co_await serve_list(std::move(replies));
  } else if (std::holds_alternative<StartTlsOption>(option)) {
    next = co_await start_tls(std::move(replies));
  } else if (std::holds_alternative<AbortOption>(option)) {
    replies.acknowledge();
    next = co_await reply(std::move(replies), Next::kClose);
  } else {
    next = co_await serve_form(std::move(option), std::move(replies));
  }
  co_return next;
}

// Extended headers stand above structured replies, which can't be gone back to.
Task<Handshake::Next> Handshake::serve_form(Option option, OptionReplies replies) {
  const bool extended = std::holds_alternative<ExtendedHeadersOption>(option);
  if (!extended && form_ == HeaderForm::kExtended) {
    replies.refuse(OptionReplyCode::kErrorExtendedHeadersRequired, "extended headers were agreed on");
  } else {
    form_ = extended ? HeaderForm::kExtended : HeaderForm::kStructured;
    replies.acknowledge();
  }
  const Next next = co_await reply(std::move(replies), Next::kMore);
  co_return next;
}

Task<Handshake::Next> Handshake::serve_export_name(ExportNameOption option) {
  // The protocol forbids this behind extended headers.
  if (form_ == HeaderForm::kExtended) co_return Next::kClose;
  const auto info = co_await look_at(std::move(option.name), true);
  if (!info) co_return Next::kClose;
  std::array<std::byte, sizeof(ExportNameReply) + kExportNameZeroes> bytes{};
  const ExportNameReply answer{.size_bytes = attached_.shape.size_bytes,
                               .flags = transmission_flags(attached_.shape)};
  std::memcpy(bytes.data(), &answer, sizeof(answer));
  const auto used = std::span(bytes).first(no_zeroes_ ? sizeof(answer) : bytes.size());
  const bool sent = co_await send_all(reactor_, socket_, used);
  co_return sent ? Next::kTransmission : Next::kClose;
}

Task<Handshake::Next> Handshake::serve_list(OptionReplies replies) {
  release_client();
  const auto exports = co_await exports_.list();
  if (exports) {
    for (const ExportInfo& info : *exports) replies.server(info.name, info.description);
    replies.acknowledge();
  } else {
    replies.refuse(reply_code(exports.error()), exports.error().message);
  }
  const Next next = co_await reply(std::move(replies), Next::kMore);
  co_return next;
}

Task<Handshake::Next> Handshake::serve_export(ExportOption option, OptionReplies replies) {
  const auto info = co_await look_at(option.name, option.go);
  Next next = Next::kMore;
  if (info) {
    const ExportShape shape = option.go ? attached_.shape : shape_of(*info);
    replies.info_export(shape.size_bytes, transmission_flags(shape));
    replies.info_block_size();
    if (option.wants_name) replies.info_text(InfoCode::kName, info->name);
    if (option.wants_description) replies.info_text(InfoCode::kDescription, info->description);
    replies.acknowledge();
    if (option.go) next = Next::kTransmission;
  } else {
    replies.refuse(reply_code(info.error()), info.error().message);
  }
  next = co_await reply(std::move(replies), next);
  co_return next;
}

Task<Handshake::Next> Handshake::serve_meta_context(MetaContextOption option, OptionReplies replies) {
  if (option.select) choice_ = {};
  if (form_ == HeaderForm::kSimple) {
    replies.refuse(OptionReplyCode::kErrorInvalid, "structured replies must be agreed on first");
    const Next next = co_await reply(std::move(replies), Next::kMore);
    co_return next;
  }
  const auto bitmaps = co_await bitmaps_for(option);
  std::vector<MetaContext> contexts;
  if (bitmaps) contexts = match_contexts(option, *bitmaps);
  if (!bitmaps) {
    replies.refuse(reply_code(bitmaps.error()), bitmaps.error().message);
  } else if (option.select && contexts.size() > kMaxContexts) {
    replies.refuse(OptionReplyCode::kErrorTooBig, "more than 16 metadata contexts at once");
  } else {
    for (const MetaContext& context : contexts) replies.meta_context(context);
    if (option.select) choose(option.name, contexts);
    replies.acknowledge();
  }
  const Next next = co_await reply(std::move(replies), Next::kMore);
  co_return next;
}

// The bitmaps that are asked for and are there. An unknown one is passed over, as the protocol has it: the
// client sees that it did not get it, and makes a full copy.
Task<Outcome<std::vector<std::string>>> Handshake::bitmaps_for(const MetaContextOption& option) {
  std::vector<std::string> bitmaps;
  const auto info = co_await look_at(option.name, false);
  if (!info) co_return std::unexpected(info.error());
  if (asks_for_all_bitmaps(option)) {
    auto all = co_await exports_.bases(option.name, kMaxListedBitmaps);
    if (!all) co_return all;
    bitmaps = std::move(*all);
  }
  const std::vector<std::string> named = named_bitmaps(option);
  for (const std::string& name : std::span(named).first(std::min(named.size(), kMaxListedBitmaps))) {
    const auto base = exports_.base_export(option.name, name);
    if (!base || std::ranges::find(bitmaps, name) != bitmaps.end()) continue;
    const bool there = co_await exports_.has_base(*base);
    if (there) bitmaps.push_back(name);
  }
  co_return bitmaps;
}

void Handshake::choose(const std::string& export_name, const std::vector<MetaContext>& contexts) {
  choice_.export_name = export_name;
  for (const MetaContext& context : contexts) {
    if (context.id == kBaseAllocationId) {
      choice_.allocation = true;
    } else if (context.id == kAllocationDepthId) {
      choice_.depth = true;
    } else {
      choice_.bitmaps.push_back({context.id, export_name, context.name.substr(kDirtyBitmap.size())});
    }
  }
}

Task<Outcome<>> Handshake::attach_contexts(std::string name) {
  attached_.contexts.clear();
  if (choice_.export_name == name) {
    if (choice_.allocation) attached_.contexts.push_back(make_allocation_status(*attached_.device));
    if (choice_.depth) attached_.contexts.push_back(make_depth_status(*attached_.device));
    for (const DirtyBitmap& bitmap : choice_.bitmaps) {
      const auto base = exports_.base_export(name, bitmap.since);
      if (!base) co_return std::unexpected(base.error());
      auto device = co_await exports_.open_base(*base, options_.holder);
      if (!device) co_return std::unexpected(device.error());
      attached_.contexts.push_back(
          make_dirty_status(exports_, bitmap, std::move(*device), !attached_.device->read_only()));
    }
  }
  attached_.shape.block_status = !attached_.contexts.empty();
  co_return Outcome<>{};
}

Task<Handshake::Next> Handshake::refuse_oversized(OptionHeader header) {
  if (header.length_bytes > kMaxOptionDrainBytes) co_return Next::kClose;
  const bool drained = co_await reader_.skip(header.length_bytes);
  if (!drained) co_return Next::kClose;
  auto refusal = refuse_all(static_cast<OptionCode>(std::uint32_t{header.code}));
  if (!refusal) refusal = OptionRefusal{OptionReplyCode::kErrorTooBig, "option is longer than 64 KiB"};
  const Next next = co_await refuse(header, std::move(*refusal));
  co_return next;
}

Task<Handshake::Next> Handshake::reply(OptionReplies replies, Next next) {
  expect_client();
  const auto bytes = replies.bytes();
  const bool sent = co_await send_all(reactor_, socket_, bytes);
  co_return sent ? next : Next::kClose;
}

Task<Outcome<ExportInfo>> Handshake::look_at(std::string name, bool attach) {
  release_client();
  auto info = co_await exports_.describe(name);
  if (!info || !attach) co_return info;
  auto device = co_await exports_.open(name, options_.holder);
  if (!device) co_return std::unexpected(device.error());
  // Between looking and attaching the disk may have changed; what is attached counts.
  info->size_bytes = (*device)->size_bytes();
  info->read_only = (*device)->read_only();
  attached_.shape = shape_of(*info);
  attached_.contexts.clear();
  attached_.device = std::move(*device);
  auto contexts = co_await attach_contexts(name);
  if (!contexts) co_return std::unexpected(contexts.error());
  co_return info;
}

ExportShape Handshake::shape_of(const ExportInfo& info) const {
  return {.size_bytes = info.size_bytes,
          .read_only = info.read_only,
          .form = form_,
          .block_status = has_contexts(info.name),
          .one_client = info.one_client};
}

}  // namespace coppice::nbd
