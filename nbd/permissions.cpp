#include "nbd/permissions.h"

#include <fnmatch.h>

#include <algorithm>

namespace coppice::nbd {

namespace {

std::string disk_of(std::string_view export_name) {
  return std::string(export_name.substr(0, export_name.find_first_of("@/")));
}

// The same words for a disk that isn't there and for one that isn't shown.
std::unexpected<Failure> unknown() {
  return refuse(ErrorKind::kNotFound, "no such export here: ask for the list");
}

template <class T>
Outcome<T> without_difference(Outcome<T> answer) {
  if (!answer && answer.error().kind == ErrorKind::kNotFound) return unknown();
  return answer;
}

}  // namespace

bool Permissions::shows(std::string_view export_name) const {
  const std::string disk = disk_of(export_name);
  return disks.empty() || std::ranges::any_of(disks, [&disk](const std::string& pattern) {
           return ::fnmatch(pattern.c_str(), disk.c_str(), 0) == 0;
         });
}

Task<Outcome<std::vector<ExportInfo>>> PermittedExports::list() {
  auto exports = co_await all_.list();
  if (!exports) co_return exports;
  std::erase_if(*exports, [this](const ExportInfo& info) { return !permissions_.shows(info.name); });
  if (permissions_.read_only) {
    for (ExportInfo& info : *exports) info.read_only = true;
  }
  co_return exports;
}

Task<Outcome<ExportInfo>> PermittedExports::describe(std::string name) {
  if (!permissions_.shows(name)) co_return unknown();
  auto info = co_await all_.describe(name);
  if (info && permissions_.read_only) {
    if (info->one_client) {
      co_return refuse(ErrorKind::kReadOnly,
                       "an attachment is the right to write: not on a read-only listener");
    }
    info->read_only = true;
  }
  co_return permissions_.disks.empty() ? info : without_difference(std::move(info));
}

Task<Outcome<std::vector<std::string>>> PermittedExports::bases(std::string name, std::size_t most) {
  if (!permissions_.shows(name)) co_return unknown();
  auto names = co_await all_.bases(std::move(name), most);
  co_return names;
}

Task<bool> PermittedExports::has_base(std::string base) {
  if (!permissions_.shows(base)) co_return false;
  const bool there = co_await all_.has_base(std::move(base));
  co_return there;
}

Task<Outcome<std::unique_ptr<BlockDevice>>> PermittedExports::open_base(std::string base, Holder holder) {
  if (!permissions_.shows(base)) co_return unknown();
  auto device = co_await all_.open_base(std::move(base), std::move(holder));
  co_return device;
}

// Another disk of the same tree can be a base as well: that one has to be shown, too.
Outcome<std::string> PermittedExports::base_export(std::string name, std::string since) {
  auto base = all_.base_export(std::move(name), std::move(since));
  if (base && !permissions_.shows(*base)) return unknown();
  return base;
}

Task<Outcome<std::vector<DiffRange>>> PermittedExports::changes(std::string name, std::string since) {
  const auto base = base_export(name, since);
  if (!base) co_return std::unexpected(base.error());
  auto ranges = co_await all_.changes(std::move(name), std::move(since));
  co_return ranges;
}

Task<Outcome<std::unique_ptr<BlockDevice>>> PermittedExports::open(std::string name, Holder holder) {
  if (!permissions_.shows(name)) co_return unknown();
  Outcome<std::unique_ptr<BlockDevice>> device;
  if (permissions_.read_only) {
    device = co_await all_.open_read_only(std::move(name), std::move(holder));
  } else {
    device = co_await all_.open(std::move(name), std::move(holder));
  }
  co_return permissions_.disks.empty() ? std::move(device) : without_difference(std::move(device));
}

Task<Outcome<std::unique_ptr<BlockDevice>>> PermittedExports::open_read_only(std::string name,
                                                                             Holder holder) {
  if (!permissions_.shows(name)) co_return unknown();
  auto device = co_await all_.open_read_only(std::move(name), std::move(holder));
  co_return device;
}

}  // namespace coppice::nbd
