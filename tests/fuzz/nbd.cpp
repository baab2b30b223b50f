// What an NBD client sends: options alone, a whole conversation, and requests behind a good handshake,
// with compact and with extended headers.
//
// Handshake and connection run on a reactor as in a server; below it is a Wire in place of a socket.
#include <algorithm>
#include <array>
#include <optional>

#include "fuzz.h"
#include "memory_exports.h"
#include "nbd/connection.h"
#include "nbd/handshake.h"
#include "nbd_wire.h"

namespace coppice::fuzz {
namespace {

using namespace coppice::nbd;

constexpr std::uint64_t kDiskBytes = (64 << 10) + 512;

// A disk and a snapshot of it. They are as good as new for each conversation; memory is what making them
// takes, so who was asked nothing stays.
class Disks {
 public:
  explicit Disks(Reactor& reactor) : reactor_(reactor) { renew(); }

  test::MemoryExports& fresh() {
    if (disk_->started != 0 || snapshot_->started != 0) renew();
    return *exports_;
  }
  // A slow disk answers when nothing else is left to do.
  void slow_down() {
    disk_->close_gate();
    snapshot_->close_gate();
    slow_ = true;
  }
  // Whether it was slow.
  bool speed_up() {
    disk_->open_gate();
    snapshot_->open_gate();
    return std::exchange(slow_, false);
  }
  void demand_left_alone() const {
    demand(disk_->attached == 0 && snapshot_->attached == 0, "who has left is not attached");
    demand(disk_->misaligned_buffers == 0 && snapshot_->misaligned_buffers == 0, "memory is aligned");
  }

 private:
  void renew() {
    exports_.emplace();
    disk_ = &exports_->add(reactor_, "disk", kDiskBytes);
    snapshot_ = &exports_->add(reactor_, "disk@snap", kDiskBytes);
    exports_->changed["disk@snap"] = {{.offset_bytes = 4096, .length_bytes = 4096},
                                      {.offset_bytes = 8192, .length_bytes = 512, .zero = true},
                                      {.offset_bytes = 64 << 10, .length_bytes = 512}};
  }

  Reactor& reactor_;
  std::optional<test::MemoryExports> exports_;
  test::MemoryDisk* disk_ = nullptr;
  test::MemoryDisk* snapshot_ = nullptr;
  bool slow_ = false;
};

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

Task<void> converse(Reactor& reactor, test::MemoryExports& exports) {
  ReplyWatch& replies = Wire::get().replies;
  StreamReader reader(reactor, kWireSocket);
  Deadline deadline;
  Handshake handshake(reactor, kWireSocket, reader, exports, deadline, {.holder = {"a fuzzer"}});
  auto attached = co_await handshake.run();
  if (attached) {
    if (!Wire::get().client_left()) replies.begin_transmission(attached->shape.form);
    Connection connection(reactor, kWireSocket, reader, *attached->device, attached->shape,
                          attached->contexts);
    co_await connection.run();
  }
  if (!Wire::get().client_left()) replies.finish();
}

// What follows the kind of input in its first byte.
struct Conduct {
  Manner manner;
  bool slow_disk = false;  // it answers when nothing else is left to do
};

Conduct conduct_of(unsigned number) {
  return {.manner = {.in_pieces = number % 2 != 0, .leaves = number / 2 % 2 != 0, .seed = number / 8},
          .slow_disk = number / 4 % 2 != 0};
}

void try_conversation(Input input, const Conduct& conduct, std::string_view export_name,
                      OptionCode form = OptionCode::kStructuredReply) {
  static const auto reactor = std::move(*Reactor::create());
  static Disks disks(*reactor);
  Bytes sent;
  if (!export_name.empty()) sent = good_handshake(export_name, form);
  sent.insert(sent.end(), input.begin(), input.end());
  test::MemoryExports& exports = disks.fresh();
  if (conduct.slow_disk) disks.slow_down();
  Wire::get().begin(sent, conduct.manner);
  Wire::get().on_standstill = [] { return disks.speed_up(); };
  reactor->run(converse(*reactor, exports));
  disks.speed_up();
  disks.demand_left_alone();
}

}  // namespace

void run_one(Input input) {
  const unsigned head = take_byte(input);
  const Conduct conduct = conduct_of(head / 6);
  switch (head % 6) {
    case 0:
      return try_option(input);
    case 1:
      return try_conversation(input, conduct, "");
    case 2:
      return try_conversation(input, conduct, "disk");
    case 3:
      return try_conversation(input, conduct, "disk@snap");
    case 4:
      return try_conversation(input, conduct, "disk", OptionCode::kExtendedHeaders);
    default:
      return try_conversation(input, conduct, "disk@snap", OptionCode::kExtendedHeaders);
  }
}

}  // namespace coppice::fuzz
