#include "cli/table.h"

#include <algorithm>

namespace coppice::cli {
namespace {

constexpr std::size_t kGap = 2;

}  // namespace

std::size_t character_count(const std::string& text) {
  const auto starts = [](char byte) { return (static_cast<unsigned char>(byte) & 0xc0) != 0x80; };
  return static_cast<std::size_t>(std::ranges::count_if(text, starts));
}

std::string printable(std::string text) {
  for (char& byte : text) {
    const auto code = static_cast<unsigned char>(byte);
    if (code < 0x20 || code == 0x7f) byte = '?';
  }
  return text;
}

void Table::add(std::vector<std::string> cells) {
  for (auto& cell : cells) cell = printable(std::move(cell));
  cells.resize(columns_.size());
  rows_.push_back(std::move(cells));
}

std::string Table::text() const {
  std::vector<std::size_t> widths(columns_.size(), 0);
  for (const auto& row : rows_) {
    for (std::size_t i = 0; i < row.size(); ++i) {
      const std::size_t count = character_count(row[i]);
      if (i != 0 || count <= first_limit_) widths[i] = std::max(widths[i], count);
    }
  }
  std::string all;
  for (const auto& row : rows_) {
    std::string line;
    for (std::size_t i = 0; i < row.size(); ++i) {
      if (widths[i] == 0 && row[i].empty()) continue;
      const std::size_t count = character_count(row[i]);
      const std::string padding(widths[i] > count ? widths[i] - count : 0, ' ');
      if (!line.empty()) line.append(kGap, ' ');
      line += columns_[i] == Align::kRight ? padding + row[i] : row[i] + padding;
    }
    line.erase(line.find_last_not_of(' ') + 1);
    all += line + "\n";
  }
  return all;
}

}  // namespace coppice::cli
