#include "cli/attachment_json.h"

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

}  // namespace coppice::cli
