// The verbs that say who may write to a disk.
#include "cli/attach_text.h"
#include "cli/attachment_json.h"
#include "cli/dispatcher.h"
#include "cli/params.h"
#include "cli/store_directory.h"
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

std::vector<Place> default_places(const std::string& store) {
  return {{.endpoint = nbd::UnixEndpoint{.path = default_nbd_socket(store)}}};
}

// Nothing is said of listeners that don't show it, or where the right to write is none.
void Dispatcher::add_places(Json& document, const std::string& export_name, bool read_only) const {
  const bool writes = export_name.find('/') != std::string::npos;
  std::vector<nbd::Endpoint> endpoints;
  for (const Place& place : service_.places) {
    const bool open = place.permissions.shows(export_name) && !(writes && place.permissions.read_only);
    if (open) endpoints.push_back(place.endpoint);
  }
  Json uris = Json::array();
  for (const auto& endpoint : endpoints) uris.push_back(nbd::export_uri(endpoint, export_name));
  document["served"] = service_.running && !endpoints.empty();
  document["nbd"] = uris;
  document["qemu"] = endpoints.empty() ? "" : qemu_blockdev(endpoints.front(), export_name, read_only);
  document["libvirt"] = endpoints.empty() ? "" : libvirt_disk(endpoints.front(), export_name, read_only);
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
