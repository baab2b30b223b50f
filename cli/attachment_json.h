// Attachments as documents. Pure; keys are stable, docs/cli.md lists them.
#pragma once

#include <string>
#include <vector>

#include "cli/node_json.h"

namespace coppice::cli {

// {"token","epoch","state":"active|incoming|fenced","label","created","client","export"}; client is null
// while nobody has it open.
[[nodiscard]] Json attachment_to_json(const std::string& disk, const AttachmentInfo& attachment);
// A list of these.
[[nodiscard]] Json attachments_to_json(const std::string& disk,
                                       const std::vector<AttachmentInfo>& attachments);

}  // namespace coppice::cli
