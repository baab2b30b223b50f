// Table: rows of text in aligned columns, as every listing prints them.
//
// Pure. Widths count characters of UTF-8, not bytes. Nothing trails a row, and what could move a terminal's
// cursor is shown as '?'.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace coppice::cli {

class Table {
 public:
  enum class Align : unsigned char { kLeft, kRight };

  // A table without headings passes empty ones.
  explicit Table(std::vector<Align> columns) : columns_(std::move(columns)) {}
  // A cell of the first column that is longer pushes its own row aside, and not all others.
  void limit_first_column(std::size_t characters) { first_limit_ = characters; }
  void add(std::vector<std::string> cells);
  [[nodiscard]] std::string text() const;

 private:
  std::vector<Align> columns_;
  std::vector<std::vector<std::string>> rows_;
  std::size_t first_limit_ = SIZE_MAX;
};

// Characters, where `text` is UTF-8.
[[nodiscard]] std::size_t character_count(const std::string& text);
// Without control characters.
[[nodiscard]] std::string printable(std::string text);

}  // namespace coppice::cli
