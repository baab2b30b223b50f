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

// The answer of a verb to attachments as text: a line for each, saying what became of it; without any,
// `none`.
[[nodiscard]] std::string attachments_text(const Json& answer, const char* became, const char* none);

}  // namespace coppice::cli
