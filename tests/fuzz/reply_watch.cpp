#include "reply_watch.h"

#include <algorithm>

namespace coppice::fuzz {

using namespace coppice::nbd;

namespace {

constexpr std::uint64_t kLongestReply = kMaxRequestBytes + 16;

}  // namespace

void ReplyWatch::take(Input bytes) {
  while (!bytes.empty() && phase_ != Phase::kUnframed) {
    const auto skipped = static_cast<std::size_t>(std::min<std::uint64_t>(body_bytes_, bytes.size()));
    body_bytes_ -= skipped;
    bytes = bytes.subspan(skipped);
    if (phase_ == Phase::kExportName) {
      export_name_bytes_ += bytes.size();
      return;
    }
    const std::size_t taken = std::min(wanted_bytes() - head_bytes_, bytes.size());
    if (taken == 0) continue;
    std::memcpy(head_.data() + head_bytes_, bytes.data(), taken);
    head_bytes_ += taken;
    bytes = bytes.subspan(taken);
    if (head_bytes_ == wanted_bytes()) look_at_head();
  }
}

// Of a reply whose magic has not come yet, that much.
std::size_t ReplyWatch::wanted_bytes() const {
  if (phase_ == Phase::kGreeting) return sizeof(Greeting);
  if (phase_ == Phase::kOptions) return sizeof(OptionReplyHeader);
  if (form_ == HeaderForm::kExtended) return sizeof(ExtendedChunkHeader);
  const bool chunk = head_bytes_ >= sizeof(Big32) && decode<Big32>(head_) == kStructuredReplyMagic;
  return chunk ? sizeof(ChunkHeader) : sizeof(SimpleReply);
}

void ReplyWatch::look_at_head() {
  if (phase_ == Phase::kGreeting) {
    demand(decode<Greeting>(head_).option_magic == kOptionMagic, "a server greets");
    phase_ = Phase::kOptions;
    expect_body(0);
  } else if (phase_ == Phase::kOptions) {
    look_at_option();
  } else {
    look_at_reply();
  }
}

void ReplyWatch::look_at_option() {
  const auto header = decode<OptionReplyHeader>(head_);
  if (header.magic == kOptionReplyMagic) {
    expect_body(header.length_bytes);
    return;
  }
  export_name_bytes_ = head_bytes_;
  head_bytes_ = 0;
  phase_ = Phase::kExportName;
}

void ReplyWatch::look_at_reply() {
  const std::uint32_t magic = decode<Big32>(head_);
  if (form_ == HeaderForm::kExtended) {
    demand(magic == kExtendedReplyMagic, "a reply is where it is expected, with an extended header");
    expect_body(decode<ExtendedChunkHeader>(head_).length_bytes);
  } else if (magic == kStructuredReplyMagic) {
    expect_body(decode<ChunkHeader>(head_).length_bytes);
  } else {
    demand(magic == kSimpleReplyMagic, "a reply is where it is expected");
    expect_body(0);
  }
}

void ReplyWatch::expect_body(std::uint64_t bytes) {
  demand(bytes <= kLongestReply, "a reply is no longer than a request may ask for");
  head_bytes_ = 0;
  body_bytes_ = bytes;
}

void ReplyWatch::begin_transmission(HeaderForm form) {
  if (phase_ == Phase::kOptions) export_name_bytes_ = head_bytes_;
  const std::size_t whole = sizeof(ExportNameReply) + kExportNameZeroes;
  demand(
      export_name_bytes_ == 0 || export_name_bytes_ == sizeof(ExportNameReply) || export_name_bytes_ == whole,
      "an answer to EXPORT_NAME is whole");
  demand(body_bytes_ == 0, "an option's reply is whole");
  head_bytes_ = 0;
  form_ = form;
  phase_ = form == HeaderForm::kSimple ? Phase::kUnframed : Phase::kTransmission;
}

void ReplyWatch::finish() const {
  demand(head_bytes_ == 0 && body_bytes_ == 0, "the last reply is whole");
  demand(phase_ != Phase::kExportName, "what has no head is the answer to EXPORT_NAME");
}

}  // namespace coppice::fuzz
