#include <csignal>
#include <exception>
#include <iostream>

#include "cli/program.h"

int main(int argc, char** argv) {
  // A reader that goes away is an error to be told, not a death with the store open.
  std::signal(SIGPIPE, SIG_IGN);
  try {
    return coppice::cli::run_program(argc, argv, std::cout, std::cerr);
  } catch (const std::exception& error) {
    std::cerr << "coppice: unexpected: " << error.what() << "\n";
    return 2;
  }
}
