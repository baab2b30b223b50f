#include "layout/meta_batch.h"

#include <cstring>

#include "base/wire.h"

namespace coppice {

namespace {

constexpr std::uint8_t kKinds = 4;
constexpr std::uint8_t kFamilies = 3;

std::byte* put_text(std::byte* at, std::string_view text) {
  at = put_varint(at, text.size());
  if (!text.empty()) std::memcpy(at, text.data(), text.size());
  return at + text.size();
}

std::string_view read_text(Reader& reader) {
  const auto bytes = reader.bytes(static_cast<std::size_t>(reader.varint()));
  return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
}

// Nothing: no such operation begins here.
std::optional<MetaBatch::Operation> read_operation(Reader& reader) {
  const std::uint8_t head = reader.u8();
  const std::uint8_t kind = head >> 4;
  const std::uint8_t family = head & 15;
  const std::string_view key = read_text(reader);
  const std::string_view value = read_text(reader);
  if (!reader.ok() || kind >= kKinds || family >= kFamilies) return std::nullopt;
  return MetaBatch::Operation{static_cast<MetaBatch::Kind>(kind), static_cast<Family>(family), key, value};
}

}  // namespace

void MetaBatch::add(const Operation& operation) {
  const std::size_t old = encoded_.size();
  const std::size_t texts = operation.key.size() + operation.value.size();
  encoded_.resize(old + 1 + 2 * kMostVarintBytes + texts);
  std::byte* at = encoded_.data() + old;
  *at++ = static_cast<std::byte>(static_cast<unsigned>(operation.kind) << 4 |
                                 static_cast<unsigned>(operation.family));
  at = put_text(at, operation.key);
  at = put_text(at, operation.value);
  encoded_.resize(static_cast<std::size_t>(at - encoded_.data()));
}

std::optional<MetaBatch> MetaBatch::decode(std::span<const std::byte> encoded) {
  Reader reader(encoded);
  while (!reader.done()) {
    if (!read_operation(reader)) return std::nullopt;
  }
  MetaBatch batch;
  batch.encoded_.assign(encoded.begin(), encoded.end());
  return batch;
}

void MetaBatch::Iterator::read() {
  if (rest_.empty()) return;
  Reader reader(rest_);
  operation_ = *read_operation(reader);
  size_ = rest_.size() - reader.remaining();
}

}  // namespace coppice
