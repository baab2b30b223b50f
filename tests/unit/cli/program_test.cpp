// The command line as it is typed: what is refused, and how.
#include <algorithm>
#include <catch2/catch.hpp>
#include <cstdlib>
#include <filesystem>
#include <sstream>

#include "cli/program.h"
#include "cli/store_directory.h"

namespace coppice::cli {
namespace {

struct Ran {
  int code = 0;
  std::string out;
  std::string err;
};

Ran run(std::vector<const char*> arguments) {
  arguments.insert(arguments.begin(), "coppice");
  std::ostringstream out;
  std::ostringstream err;
  const int code = run_program(static_cast<int>(arguments.size()), arguments.data(), out, err);
  return {code, out.str(), err.str()};
}

bool is_one_line(const std::string& text) {
  return text.starts_with("coppice: ") && std::count(text.begin(), text.end(), '\n') == 1 &&
         text.ends_with('\n');
}

constexpr const char* kVerbs[] = {"init",   "create",   "ls",       "info",   "du",     "rm",     "rename",
                                  "resize", "snapshot", "rollback", "clone",  "tree",   "hold",   "release",
                                  "expire", "schedule", "undelete", "diff",   "import", "export", "serve",
                                  "check",  "dump",     "set",      "attach", "detach", "fence",  "metrics"};

TEST_CASE("every verb has help with an example") {
  for (const char* verb : kVerbs) {
    const Ran ran = run({verb, "--help"});
    CHECK(ran.code == 0);
    CHECK(ran.err.empty());
    CHECK(ran.out.find(std::string("Example:\n  coppice ") + verb) != std::string::npos);
    CHECK(ran.out.find("--store") != std::string::npos);
    CHECK(ran.out.find("--json") != std::string::npos);
  }
  CHECK(run({"--help"}).code == 0);
  CHECK(run({"--version"}).out == std::string("coppice ") + COPPICE_VERSION + "\n");
}

TEST_CASE("what is not understood is refused in one line that says where help is") {
  const std::vector<std::vector<const char*>> lines = {
      {},
      {"fly"},
      {"--fly", "ls"},
      {"ls", "--fly"},
      {"ls", "extra"},
      {"create", "web"},
      {"create", "--size", "1G"},
      {"create", "web", "--size"},
      {"rm"},
      {"rollback", "web@a", "--keep", "x", "--discard"},
      {"snapshot"},
      {"clone", "web@a"},
      {"set", "web"},
      {"create", "web", "--size", "1G", "--strict=maybe"},
  };
  for (const auto& line : lines) {
    const Ran ran = run(line);
    CAPTURE(ran.err);
    CHECK(ran.code == 2);
    CHECK(ran.out.empty());
    CHECK(is_one_line(ran.err));
    CHECK(ran.err.find("--help") != std::string::npos);
  }
  CHECK(run({"fly"}).err == "coppice: unknown verb 'fly': see coppice --help\n");
}

TEST_CASE("what is refused before any store is touched") {
  const std::string none = std::filesystem::temp_directory_path() / "coppice-test-none";
  const std::vector<std::vector<const char*>> lines = {
      {"create", "web", "--size", "10X"},
      {"create", "web", "--size", "-5"},
      {"resize", "web", "--size", "lots"},
      {"set", "web", "strict"},
      {"set", "web", "strict=maybe"},
      {"set", "web", "loose=on"},
      {"diff", "web@a", "web@b", "--from", "x"},
      {"import", "/nonexistent/image", "web"},
      {"import", "/tmp", "web"},
      {"import", "x", "web", "--format", "qed"},
      {"export", "web", "/nonexistent/folder/image"},
      {"export", "web", "/etc/passwd"},
      {"serve", "--listen", "http://localhost"},
      {"serve", "--cache", "big"},
      {"serve", "--listen", "nbd://localhost/?colour=red"},
      {"serve", "--listen", "systemd:vm"},
      {"serve", "--max-connections", "-1"},
      {"serve", "--idle-timeout", "soon"},
      {"serve", "--handshake-timeout", "0s"},
      {"serve", "--tls-psk", "/nonexistent/keys"},
      {"serve", "--tls-verify-peer"},
      {"init", "--pool", "x:10Q"},
      {"export", "web", "-", "--json"},
  };
  for (auto line : lines) {
    line.insert(line.begin(), {"--store", none.c_str()});
    const Ran ran = run(line);
    CAPTURE(ran.err);
    CHECK(ran.code == 2);
    CHECK(is_one_line(ran.err));
    CHECK_FALSE(std::filesystem::exists(none));
  }
  CHECK(run({"--store", "/a", "ls", "--store", "/b"}).err.find("twice") != std::string::npos);
}

TEST_CASE("an empty --store is a variable that was not set, not the default store") {
  for (const auto& line : std::vector<std::vector<const char*>>{
           {"--store", "", "ls"}, {"ls", "--store", ""}, {"ls", "--store="}}) {
    const Ran ran = run(line);
    CHECK(ran.code == 2);
    CHECK(is_one_line(ran.err));
    CHECK(ran.err.find("--store") != std::string::npos);
  }
}

TEST_CASE("what is wrong with an option is said in plain words") {
  CHECK(run({"create", "web", "--size"}).err ==
        "coppice: create: --size needs a value: see coppice create --help\n");
  CHECK(run({"create", "web", "--size", "1G", "--size", "2G"}).err ==
        "coppice: create: --size is given more than once: see coppice create --help\n");
  CHECK(run({"--store", "a", "--store", "b", "ls"}).err.find("more than once") != std::string::npos);
}

TEST_CASE("the store is where the option, the environment or custom says") {
  setenv("COPPICE_STORE", "/from/environment/", 1);
  CHECK(*store_directory("/given") == "/given");
  CHECK(*store_directory("") == "/from/environment");
  setenv("COPPICE_STORE", "", 1);
  CHECK(store_directory("")->ends_with("/coppice"));
  unsetenv("COPPICE_STORE");
  CHECK(*store_directory("x/../y") == std::filesystem::current_path() / "y");
}

}  // namespace
}  // namespace coppice::cli
