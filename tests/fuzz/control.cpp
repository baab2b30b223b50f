// What comes over the control socket: to the daemon (lines of JSON-RPC), and from it (its answers).
#include "cli/dispatcher.h"
#include "cli/rpc.h"
#include "fuzz.h"
#include "memory_store.h"

namespace coppice::fuzz {
namespace {

using namespace coppice::cli;

void try_line(const std::string& line) {
  const auto request = decode_request(line);
  if (request) {
    const std::string again = encode_request(7, request->method, request->params);
    demand(decode_request(again).has_value(), "a request that was taken is taken again");
  } else {
    demand(encode_refusal(request.error()).ends_with("\n"), "a refusal is a line");
  }
  const RpcReply reply = decode_reply(line);
  if (!reply.answer) demand(!encode_failure(1, reply.answer.error()).empty(), "a failure can be told");
}

// A verb as a client asks it, by a store that has one disk with a snapshot.
Task<void> ask(Reactor& reactor, std::string line) {
  auto request = decode_request(line);
  if (!request) co_return;
  test::MemoryStore store;
  auto made = co_await store.create_disk("web", 8192);
  std::vector<Spec> taken{{"web", "a"}};
  if (made) made = co_await store.snapshot(taken, SnapshotOptions{});
  Dispatcher dispatcher(reactor, store,
                        Service{"/srv/store", {Place{nbd::UnixEndpoint{"/srv/nbd.sock"}}}, true});
  auto answer = co_await dispatcher.call({request->method, request->params, {}, {}});
  if (!answer) {
    demand(!answer.error().message.empty(), "a refusal says why");
    demand(encode_failure(request->id, answer.error()).find('\n') + 1 != 0, "a refusal is one line");
  }
}

}  // namespace

void run_one(Input input) {
  static const auto reactor = std::move(*Reactor::create());
  const std::string line(as_text(input));
  try_line(line);
  reactor->run(ask(*reactor, line));
}

}  // namespace coppice::fuzz
