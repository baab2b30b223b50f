#include "cli/parser.h"

#include <CLI/CLI.hpp>

namespace coppice::cli {

Parser::Parser(CLI::App& program, const VerbText& text)
    : app_(program.add_subcommand(text.name, text.summary)) {
  app_->footer(std::string("Example:\n  ") + text.example);
}

Parser& Parser::argument(const char* name, std::string& value, const char* help) {
  app_->add_option(name, value, help)->type_name("")->required();
  return *this;
}

Parser& Parser::optional_argument(const char* name, std::string& value, const char* help) {
  app_->add_option(name, value, help)->type_name("");
  return *this;
}

Parser& Parser::arguments(const char* name, std::vector<std::string>& values, const char* help) {
  app_->add_option(name, values, help)->type_name("")->required();
  return *this;
}

Parser& Parser::optional_arguments(const char* name, std::vector<std::string>& values, const char* help) {
  app_->add_option(name, values, help)->type_name("");
  return *this;
}

Parser& Parser::option(const OptionText& text, std::string& value) {
  auto* option = app_->add_option(text.name, value, text.help)->type_name(text.value);
  if (!value.empty()) option->capture_default_str();
  return *this;
}

Parser& Parser::required_option(const OptionText& text, std::string& value) {
  app_->add_option(text.name, value, text.help)->type_name(text.value)->required();
  return *this;
}

Parser& Parser::repeated_option(const OptionText& text, std::vector<std::string>& values) {
  app_->add_option(text.name, values, text.help)->type_name(text.value)->expected(1)->take_all();
  return *this;
}

Parser& Parser::flag(const char* name, bool& value, const char* help) {
  app_->add_flag(name, value, help);
  return *this;
}

Parser& Parser::exclusive(const char* one, const char* other) {
  app_->get_option(one)->excludes(app_->get_option(other));
  return *this;
}

}  // namespace coppice::cli
