// What is known of whoever reads the answers.
#pragma once

#include <cstddef>

namespace coppice::cli {

// Of the terminal on stdout, else what COLUMNS says, else 80.
std::size_t terminal_columns();
// Whether the locale is one of UTF-8.
bool speaks_utf8();

}  // namespace coppice::cli
