// Keys and values of the tree, as the map's store holds them.
#include "layout/tree_values.h"

#include "fuzz.h"
#include "layout/keys.h"

namespace coppice::fuzz {
namespace {

// What decodes encodes to the same bytes.
template <class Decode>
void check(std::string_view value, Decode decode) {
  const auto decoded = decode(value);
  if (decoded) demand(encode(*decoded) == value, "a value that was taken is what the encoder writes");
}

}  // namespace

void run_one(Input input) {
  const std::uint8_t kind = take_byte(input);
  const std::string_view value = as_text(input);
  switch (kind % 16) {
    case 0:
      return check(value, decode_branch);
    case 1:
      return check(value, decode_node);
    case 2:
      demand(!(decode_disk(value) && newer_disk(value)), "what is decoded is not newer");
      return check(value, decode_disk);
    case 3:
      return check(value, decode_counters);
    case 4:
      return check(value, decode_applied);
    case 5:
      return check(value, decode_store);
    case 6:
      return check(value, decode_suspects);
    case 7:
      if (const auto mask = decode_mask(value)) demand(encode_mask(*mask) == value, "a mask has one form");
      return;
    case 9:
      return check(value, decode_trash);
    case 10:
      return check(value, decode_schedule);
    case 11:
      return check(value, decode_attachments);
    case 12:
      return check(value, decode_base);
    case 13:
      return check(value, decode_quota);
    case 14:
      return check(value, decode_bookmark);
    default:
      if (const auto id = id_of_key(value, "node/")) {
        demand(node_key(NodeId{*id}) == value, "a node's key has one form");
      }
  }
}

}  // namespace coppice::fuzz
