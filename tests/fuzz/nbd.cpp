// What an NBD client sends: options alone, a whole conversation, and requests behind a good handshake,
// with compact and with extended headers.
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <array>

#include "fuzz.h"
#include "memory_exports.h"
#include "nbd/connection.h"
#include "nbd/handshake.h"

namespace coppice::fuzz {
namespace {

using namespace coppice::nbd;

constexpr std::uint64_t kDiskBytes = (64 << 10) + 512;
constexpr std::size_t kMostSent = 64 << 10;  // fits a socket's buffer

// Everything up to the transmission phase of `name`, with block status of each kind of context.
Bytes good_handshake(std::string_view name, OptionCode form) {
  Bytes bytes;
  const auto add = [&bytes](const auto& number) {
    const auto view = bytes_of(number);
    bytes.insert(bytes.end(), view.begin(), view.end());
  };
  const auto add_text = [&](std::string_view text) {
    add(Big32(static_cast<std::uint32_t>(text.size())));
    for (const char letter : text) bytes.push_back(static_cast<std::byte>(letter));
  };
  const auto add_option = [&](OptionCode code, std::size_t length) {
    add(OptionHeader{.magic = kOptionMagic,
                     .code = static_cast<std::uint32_t>(code),
                     .length_bytes = static_cast<std::uint32_t>(length)});
  };
  add(Big32(kClientFlagFixedNewstyle | kClientFlagNoZeroes));
  add_option(form, 0);
  constexpr std::array kContexts = {kBaseAllocation, kAllocationDepth,
                                    std::string_view("qemu:dirty-bitmap:snap")};
  std::size_t length = 4 + name.size() + 4;
  for (const std::string_view context : kContexts) length += 4 + context.size();
  add_option(OptionCode::kSetMetaContext, length);
  add_text(name);
  add(Big32(kContexts.size()));
  for (const std::string_view context : kContexts) add_text(context);
  add_option(OptionCode::kGo, 4 + name.size() + 2);
  add_text(name);
  add(Big16(0));
  return bytes;
}

void try_option(Input input) {
  const std::uint32_t code = take_byte(input);
  const std::size_t whole = input.size();
  const auto option = parse_option(code, input);
  OptionReplies replies(code);
  if (!option) {
    replies.refuse(option.error().code, option.error().text);
  } else if (const auto* contexts = std::get_if<MetaContextOption>(&*option)) {
    for (const MetaContext& context : match_contexts(*contexts, named_bitmaps(*contexts)))
      replies.meta_context(context);
  }
  // A name of one letter is the worst: its reply has a longer head.
  demand(replies.bytes().size() <= 8192 + 2 * whole, "a reply is no longer than it has to be");
}

Task<void> converse(Reactor& reactor, int socket, test::MemoryExports& exports) {
  {
    StreamReader reader(reactor, socket);
    Deadline deadline;
    Handshake handshake(reactor, socket, reader, exports, deadline, {.holder = {"a fuzzer"}});
    auto attached = co_await handshake.run();
    if (attached) {
      Connection connection(reactor, socket, reader, *attached->device, attached->shape, attached->contexts);
      co_await connection.run();
    }
  }
  ::shutdown(socket, SHUT_RDWR);
}

// Takes the replies, so that the server never waits for room.
Task<void> drain(Reactor& reactor, int socket, Latch& ended) {
  Bytes buffer(kMostSent);
  std::int32_t got = 1;
  while (got > 0) got = co_await reactor.receive(socket, buffer);
  ended.arrive();
}

Task<void> serve_once(Reactor& reactor, int server, int client) {
  test::MemoryExports exports;
  auto& disk = exports.add(reactor, "disk", kDiskBytes);
  exports.add(reactor, "disk@snap", kDiskBytes);
  Latch ended(1);
  spawn(drain(reactor, client, ended));
  co_await converse(reactor, server, exports);
  co_await ended;
  demand(disk.attached == 0, "who has left is not attached");
  demand(disk.misaligned_buffers == 0, "memory is aligned");
}

void try_conversation(Input input, std::string_view export_name,
                      OptionCode form = OptionCode::kStructuredReply) {
  static const auto reactor = std::move(*Reactor::create());
  Bytes sent;
  if (!export_name.empty()) sent = good_handshake(export_name, form);
  sent.insert(sent.end(), input.begin(), input.end());
  sent.resize(std::min(sent.size(), kMostSent));
  int ends[2];
  demand(::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends) == 0, "socketpair");
  const auto whole = static_cast<ssize_t>(sent.size());
  demand(::send(ends[1], sent.data(), sent.size(), MSG_DONTWAIT) == whole, "all of it fits the socket");
  ::shutdown(ends[1], SHUT_WR);
  reactor->run(serve_once(*reactor, ends[0], ends[1]));
  ::close(ends[0]);
  ::close(ends[1]);
}

}  // namespace

void run_one(Input input) {
  switch (take_byte(input) % 6) {
    case 0:
      return try_option(input);
    case 1:
      return try_conversation(input, "");
    case 2:
      return try_conversation(input, "disk");
    case 3:
      return try_conversation(input, "disk@snap");
    case 4:
      return try_conversation(input, "disk", OptionCode::kExtendedHeaders);
    default:
      return try_conversation(input, "disk@snap", OptionCode::kExtendedHeaders);
  }
}

}  // namespace coppice::fuzz
