// Parser: one verb's part of the command line.
//
// All that verbs need of CLI11, so that only two files have to know it. Values are filled in when the
// program's command line is parsed, and must live until then.
#pragma once

#include <string>
#include <vector>

namespace CLI {
class App;
}

namespace coppice::cli {

struct VerbText {
  const char* name;
  const char* summary;
  const char* example;
};
struct OptionText {
  const char* name;   // "--size"
  const char* value;  // what stands for its value in the help: "N"
  const char* help;
};

class Parser {
 public:
  Parser(CLI::App& program, const VerbText& text);

  Parser& argument(const char* name, std::string& value, const char* help);
  Parser& optional_argument(const char* name, std::string& value, const char* help);
  Parser& arguments(const char* name, std::vector<std::string>& values, const char* help);  // one or more
  Parser& optional_arguments(const char* name, std::vector<std::string>& values, const char* help);
  Parser& option(const OptionText& text, std::string& value);  // a value that is not empty is its default
  Parser& required_option(const OptionText& text, std::string& value);
  Parser& repeated_option(const OptionText& text, std::vector<std::string>& values);
  Parser& flag(const char* name, bool& value, const char* help);
  // The two can't be given together.
  Parser& exclusive(const char* one, const char* other);

  [[nodiscard]] CLI::App& app() const { return *app_; }

 private:
  CLI::App* app_;
};

}  // namespace coppice::cli
