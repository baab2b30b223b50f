#include "fuse/inode.h"

namespace coppice::fuse {

namespace {

constexpr unsigned kTagBits = 2;
constexpr std::uint64_t kFirstTagged = 8;  // above the four that are fixed

}  // namespace

std::uint64_t number_of(const Inode& inode) {
  const auto kind = static_cast<std::uint64_t>(inode.kind);
  constexpr auto kFirst = static_cast<std::uint64_t>(Inode::Kind::kSnapshotsOf);
  if (kind < kFirst) return kind + 1;
  return (inode.id << kTagBits) + (kind - kFirst) + kFirstTagged;
}

std::optional<Inode> inode_of(std::uint64_t number) {
  constexpr auto kFirst = static_cast<std::uint64_t>(Inode::Kind::kSnapshotsOf);
  if (number >= 1 && number <= kFirst) return Inode{static_cast<Inode::Kind>(number - 1), 0};
  if (number < kFirstTagged) return std::nullopt;
  const std::uint64_t tagged = number - kFirstTagged;
  const std::uint64_t tag = tagged & ((std::uint64_t{1} << kTagBits) - 1);
  return Inode{static_cast<Inode::Kind>(kFirst + tag), tagged >> kTagBits};
}

std::uint64_t NameTable::id_of(const std::string& name) {
  const auto [place, is_new] = ids_.try_emplace(name, names_.size());
  if (is_new) names_.push_back(name);
  return place->second;
}

std::string NameTable::name_of(std::uint64_t id) const {
  return id < names_.size() ? names_[id] : std::string();
}

}  // namespace coppice::fuse
