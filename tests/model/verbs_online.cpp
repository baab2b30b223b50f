// Rolling back under a client that comes back.
#include "world.h"

namespace coppice::test {

namespace {

// Who has the disk, and leaves when it is asked to, as a server's connection does.
struct Client {
  explicit Client(Scheduler& scheduler) : asked(scheduler) {}
  Device device;
  WaitQueue asked;
  bool leaves = false;
};

// On the heap until it has left; where the process dies it stays there.
Task<void> leave_when_asked(std::shared_ptr<Client> client) {
  while (!client->leaves) co_await client->asked.wait();
  client->device.reset();
}

}  // namespace

void World::rollback_online() {
  const int target = some_snapshot();
  if (target == 0) return;
  const Spec to = nodes_.at(target).spec();
  const std::string disk = to.disk;
  note("rollback --online " + to.text());
  detach(disk);
  auto made = run(store().attach(disk, {}));
  require(made, "attach " + disk);
  const auto client = std::make_shared<Client>(host_.scheduler());
  const auto come = [&](Holder holder) {
    auto opened = run(store().open_attachment(disk, made->token, std::move(holder)));
    require(opened, "open " + disk + " with a token");
    return own(std::move(*opened));
  };
  client->device = come({.description = "a client", .leave = [client](const std::string&) {
                           client->leaves = true;
                           client->asked.wake_all();
                         }});
  require_refused(run(store().open_device({disk, ""}, Access::kReadWrite, {"another"})), ErrorKind::kBusy,
                  "open beside an attachment");
  RollbackOptions options{.keep_as = new_name("k")};
  require_refused(run(store().rollback(to, options)), ErrorKind::kBusy, "rollback of attached " + disk);
  options.online = true;
  spawn(leave_when_asked(client));
  const auto verb = [&] { return store().rollback(to, options); };
  if (content_of(disk).size_bytes() != nodes_.at(target).content.size_bytes()) {
    require_refused(run(verb()), ErrorKind::kBusy, "rollback to another size under " + disk);
    expect(!client->leaves, "a client left for a rollback that was refused");
    client->leaves = true;
    client->asked.wake_all();
    client->device.reset();
  } else {
    change(verb(), "rollback --online " + to.text(),
           [=, this] { note_rollback(disk, target, options.keep_as); });
    expect(client->leaves && !client->device, "a client of " + disk + " is still there");
    const Device again = come({"the client again"});
    verify_content(*again, content_of(disk), disk + " for the client that came back");
  }
  require(run(store().detach(disk, made->token)), "detach " + disk);
}

}  // namespace coppice::test
