// Attachments: who may write, across restarts and crashes.
#include <algorithm>

#include "request.h"

namespace coppice::test {

using State = AttachmentInfo::State;

// The one that the model writes through, if there is one.
const ModelAttachment* World::active_of(const std::string& disk) const {
  const auto& all = disks_.at(disk).attachments;
  const auto active = std::ranges::find(all, State::kActive, &ModelAttachment::state);
  return active == all.end() ? nullptr : &*active;
}

void World::attach() {
  const std::string disk = some_disk();
  if (active_of(disk) == nullptr) {
    note("attach " + disk);
    if (devices_.contains(disk))
      require_refused(run(store().attach(disk, {})), ErrorKind::kBusy, "attach of open " + disk);
    close(disk);
    attach(disk, false);
    require_refused(run(store().open_device({disk, ""}, Access::kReadWrite, {"another"})), ErrorKind::kBusy,
                    "open beside an attachment");
    return;
  }
  require_refused(run(store().attach(disk, {})), ErrorKind::kBusy, "second attach of " + disk);
  if (one_in(2)) return take_over(disk);
  close(disk);
  return one_in(2) ? fence(disk) : detach(disk);
}

std::string World::attach(const std::string& disk, bool incoming) {
  pending_.settle = [=, this] { settle_attachments(disk); };
  auto made = run(store().attach(disk, {.incoming = incoming}));
  require(made, "attach " + disk);
  settle_attachments(disk);
  pending_ = {};
  const ModelAttachment& newest = disks_.at(disk).attachments.back();
  expect(newest.token == made->token && newest.epoch == made->epoch &&
             newest.state == (incoming ? State::kIncoming : State::kActive),
         disk + " is attached otherwise than was answered");
  return made->token;
}

// An incoming attachment reads; its first write fences the one before it for good.
void World::take_over(const std::string& disk) {
  note("another attachment takes over " + disk);
  (void)device(disk);
  const std::string old_token = active_of(disk)->token;
  const std::string token = attach(disk, true);
  auto opened = run(store().open_attachment(disk, token, Holder{"the successor"}));
  require(opened, "open " + disk + " with a token");
  Device second = own(std::move(*opened));
  verify_content(*second, content_of(disk), disk + " for the successor");
  one_request();
  settle_attachments(disk);
  expect(active_of(disk)->token == old_token, disk + ": a successor that only reads writes");
  Device first = std::exchange(devices_.at(disk), std::move(second));
  pending_.settle = [=, this] { settle_attachments(disk); };
  Request request;
  request.kind = Request::Kind::kWrite;
  request.range = random_range(content_of(disk).size_bytes(), 64 << 10);
  request.bytes = random_bytes(request.range.length);
  std::vector<Request> requests{request};
  issue(disk, requests, true);
  require(requests.front().answer, "the first write of the successor on " + disk);
  settle_attachments(disk);
  pending_ = {};
  expect(active_of(disk) != nullptr && active_of(disk)->token == token, disk + ": the successor is none");
  expect(!run(first->write(0, std::vector<std::byte>(kSectorBytes), {})), disk + ": a fenced client wrote");
  require(run(first->flush()), disk + ": the flush of a fenced client");
  first.reset();
  require_refused(run(store().open_attachment(disk, old_token, Holder{"the model"})), ErrorKind::kBusy,
                  "open of " + disk + " with a fenced token");
  change(store().detach(disk, old_token), "detach " + disk, [=, this] {
    std::erase_if(disks_.at(disk).attachments, [&](const auto& each) { return each.token == old_token; });
  });
}

void World::detach(const std::string& disk) {
  note("detach " + disk);
  change(store().detach_all(disk), "detach " + disk, [=, this] { disks_.at(disk).attachments.clear(); });
}

void World::fence(const std::string& disk) {
  note("fence " + disk);
  change(store().fence(disk), "fence " + disk, [=, this] {
    for (ModelAttachment& each : disks_.at(disk).attachments) each.state = State::kFenced;
  });
}

// Some were made, or one has taken over. Who was fenced stays so, and epochs rise.
void World::settle_attachments(const std::string& disk) {
  auto infos = run(store().attachments(disk));
  require(infos, "attachments of " + disk);
  ModelDisk& model = disks_.at(disk);
  std::vector<ModelAttachment> found;
  for (const AttachmentInfo& info : *infos) {
    const auto known = std::ranges::find(model.attachments, info.epoch, &ModelAttachment::epoch);
    if (known == model.attachments.end()) {
      expect(info.epoch > model.last_epoch, disk + ": an epoch comes again");
    } else {
      expect(info.token == known->token, disk + ": an attachment has another token");
      expect(known->state != State::kFenced || info.state == State::kFenced,
             disk + ": who was fenced is not any more");
    }
    found.push_back({info.token, info.epoch, info.state});
    model.last_epoch = std::max(model.last_epoch, info.epoch);
  }
  for (const ModelAttachment& each : model.attachments)
    expect(std::ranges::find(found, each.epoch, &ModelAttachment::epoch) != found.end() ||
               each.state == State::kFenced,
           disk + ": an attachment is gone");
  model.attachments = std::move(found);
}

void World::compare_attachments(const std::string& disk, const ModelDisk& model) {
  auto infos = run(store().attachments(disk));
  require(infos, "attachments of " + disk);
  expect(infos->size() == model.attachments.size(), disk + ": " + std::to_string(infos->size()) +
                                                        " attachments, not " +
                                                        std::to_string(model.attachments.size()));
  for (std::size_t i = 0; i < infos->size(); ++i) {
    const AttachmentInfo& info = (*infos)[i];
    const ModelAttachment& each = model.attachments[i];
    expect(info.token == each.token && info.epoch == each.epoch && info.state == each.state,
           disk + ": an attachment is another");
  }
}

}  // namespace coppice::test
