// The verbs that say who may write to a disk.
#include "cli/attach_text.h"
#include "cli/attachment_json.h"
#include "cli/dispatcher.h"
#include "cli/params.h"
#include "nbd/store_exports.h"

namespace coppice::cli {
namespace {

Json ended(const std::string& disk, const std::vector<AttachmentInfo>& attachments) {
  return {{"name", disk}, {"attachments", attachments_to_json(disk, attachments)}};
}

// A person may have the whole name of the export at hand.
std::string token_of(const std::string& text) {
  const auto named = nbd::parse_export_name(text);
  return named && !named->token.empty() ? named->token : text;
}

}  // namespace

void Dispatcher::add_places(Json& document, const std::string& export_name, bool read_only) const {
  Json uris = Json::array();
  for (const auto& endpoint : service_.endpoints) uris.push_back(nbd::export_uri(endpoint, export_name));
  document["served"] = service_.running;
  document["nbd"] = uris;
  document["qemu"] = qemu_blockdev(service_.endpoints.front(), export_name, read_only);
  document["libvirt"] = libvirt_disk(service_.endpoints.front(), export_name, read_only);
}

Task<Outcome<Json>> Dispatcher::attach(Call call) {
  Params params(call.params);
  const std::string disk = params.text("disk");
  AttachOptions options;
  options.incoming = params.flag("incoming");
  options.label = params.text_or("label", "");
  const auto valid = all_of({params.finish(), need_disk(disk)});
  if (!valid) co_return std::unexpected(valid.error());
  auto made = co_await store_.attach(disk, options);
  if (!made) co_return std::unexpected(made.error());
  Json document = attachment_to_json(disk, *made);
  document["name"] = disk;
  add_places(document, nbd::attachment_export(disk, made->token), false);
  co_return document;
}

Task<Outcome<Json>> Dispatcher::detach(Call call) {
  Params params(call.params);
  const std::string disk = params.text("disk");
  const std::string token = params.text_or("token", "");
  const bool all = params.flag("all");
  auto valid = all_of({params.finish(), need_disk(disk)});
  if (valid && all && !token.empty()) {
    valid = refuse(ErrorKind::kInvalid, "disk " + disk + ": give the token of one attachment, or all");
  }
  if (!valid) co_return std::unexpected(valid.error());
  Outcome<std::vector<AttachmentInfo>> done;
  if (all) {
    done = co_await store_.detach_all(disk);
  } else {
    done = co_await store_.detach(disk, token_of(token));
  }
  if (!done) co_return std::unexpected(done.error());
  co_return ended(disk, *done);
}

Task<Outcome<Json>> Dispatcher::fence(Call call) {
  Params params(call.params);
  const std::string disk = params.text("disk");
  const auto valid = all_of({params.finish(), need_disk(disk)});
  if (!valid) co_return std::unexpected(valid.error());
  auto done = co_await store_.fence(disk);
  if (!done) co_return std::unexpected(done.error());
  co_return ended(disk, *done);
}

}  // namespace coppice::cli
