#include "cli/attachment_json.h"

#include "cli/table.h"
#include "nbd/store_exports.h"

namespace coppice::cli {
namespace {

const char* state_name(AttachmentInfo::State state) {
  switch (state) {
    case AttachmentInfo::State::kActive:
      return "active";
    case AttachmentInfo::State::kIncoming:
      return "incoming";
    case AttachmentInfo::State::kFenced:
      break;
  }
  return "fenced";
}

}  // namespace

Json attachment_to_json(const std::string& disk, const AttachmentInfo& attachment) {
  return {{"token", attachment.token},
          {"epoch", attachment.epoch},
          {"state", state_name(attachment.state)},
          {"label", attachment.label},
          {"created", time_or_null(attachment.created_unix_ms)},
          {"client", attachment.client.empty() ? Json() : Json(attachment.client)},
          {"export", nbd::attachment_export(disk, attachment.token)}};
}

Json attachments_to_json(const std::string& disk, const std::vector<AttachmentInfo>& attachments) {
  Json all = Json::array();
  for (const AttachmentInfo& each : attachments) all.push_back(attachment_to_json(disk, each));
  return all;
}

std::string attachments_text(const Json& answer, const char* became, const char* none) {
  const std::string name = answer.value("name", "");
  std::string text;
  for (const Json& each : answer.value("attachments", Json::array())) {
    const std::string label = printable(each.value("label", ""));
    text += name + ": the attachment of epoch " + std::to_string(each.value("epoch", std::uint64_t{0})) +
            (label.empty() ? "" : " (" + label + ")") + became + "\n";
  }
  return text.empty() ? name + none + "\n" : text;
}

}  // namespace coppice::cli
