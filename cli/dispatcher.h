// Dispatcher: a request by name and parameters → calls of the Store → a document.
//
// The one place where verbs meet the engine: the daemon's control socket and a command that opens the store
// itself both go through it, so a user never notices which. Lives on the store's reactor; any number of calls
// may be under way. Descriptors are borrowed for the length of a call.
#pragma once

#include <string>
#include <vector>

#include "cli/fullness.h"
#include "cli/node_json.h"
#include "coppice/reactor.h"
#include "coppice/store.h"
#include "formats/transfer.h"
#include "fuse/mounts.h"
#include "nbd/endpoint.h"
#include "nbd/permissions.h"

namespace coppice::cli {

struct Call {
  std::string method;
  Json params;
  std::vector<int> files;
  formats::TransferHooks hooks;  // for import and export
};

// Where disks are served, and which.
struct Place {
  nbd::Endpoint endpoint;
  nbd::Permissions permissions = {};
};
std::vector<Place> default_places(const std::string& store);

// Who works for the store, as far as its users are told.
struct Service {
  std::string store;                                 // the directory
  std::vector<Place> places;                         // where its disks are served, or will be; at least one
  bool running = false;                              // by this process
  unsigned low_space_percent = kLowSpacePercent[0];  // so full, it is told with answers; 0: never
  fuse::Mounts* mounts = nullptr;                    // of a daemon
};

class Dispatcher {
 public:
  Dispatcher(Reactor& reactor, Store& store, Service service)
      : reactor_(reactor), store_(store), service_(std::move(service)) {}

  Task<Outcome<Json>> call(Call call);

 private:
  using Handler = Task<Outcome<Json>> (Dispatcher::*)(Call);
  static Handler handler_of(const std::string& method);

  Task<Outcome<Json>> hello(Call call);
  // Disks and snapshots (dispatch_changes.cpp)
  Task<Outcome<Json>> create(Call call);
  Task<Outcome<Json>> snapshot(Call call);
  Task<Outcome<Json>> expire(Call call);
  Task<Outcome<Json>> schedule(Call call);
  Task<Outcome<Json>> undelete(Call call);
  Task<Outcome<Json>> purge(Call call);
  Task<Outcome<Json>> hold(Call call);
  Task<Outcome<Json>> release(Call call);
  Task<Outcome<Json>> rollback(Call call);
  Task<Outcome<Json>> clone(Call call);
  Task<Outcome<Json>> remove(Call call);
  Task<Outcome<Json>> rename(Call call);
  Task<Outcome<Json>> resize(Call call);
  Task<Outcome<Json>> set(Call call);
  Task<Outcome<Json>> import(Call call);
  Task<Outcome<Json>> export_(Call call);
  // Who may write (dispatch_attachments.cpp)
  Task<Outcome<Json>> attach(Call call);
  Task<Outcome<Json>> detach(Call call);
  Task<Outcome<Json>> fence(Call call);
  // Adds where an export is to be found, and how to attach it, to a document.
  void add_places(Json& document, const std::string& export_name, bool read_only) const;
  // Bases (dispatch_bases.cpp)
  Task<Outcome<Json>> create_over(Call call);
  Task<Outcome<Json>> set_base(Call call);
  Task<Outcome<Json>> flatten(Call call);
  Task<Outcome<>> follow_flatten(std::string disk, formats::TransferHooks& hooks);
  // Mounted trees (dispatch_mounts.cpp)
  Task<Outcome<Json>> mount(Call call);
  Task<Outcome<Json>> serve_tree(Call call);
  Task<Outcome<Json>> unmount(Call call);
  // Questions (dispatch_questions.cpp)
  Task<Outcome<Json>> list(Call call);
  Task<Outcome<Json>> trashed(Call call);
  Task<Outcome<Json>> info(Call call);
  Task<Outcome<Json>> tree(Call call);
  Task<Outcome<Json>> space(Call call);
  Task<Outcome<Json>> space_of(Call call);
  Task<Outcome<Json>> fullness(Call call);
  Task<Outcome<Json>> set_quota(Call call);
  Task<Outcome<Json>> pools(Call call);
  Task<Outcome<Json>> metrics(Call call);
  Task<Outcome<Json>> diff(Call call);
  Task<Outcome<Json>> check(Call call);
  Task<Outcome<Json>> dump(Call call);

  Reactor& reactor_;
  Store& store_;
  Service service_;
};

}  // namespace coppice::cli
