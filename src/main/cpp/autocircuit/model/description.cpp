#include "autocircuit/model/description.h"

#include <c10/util/Exception.h>

#include <charconv>
#include <sstream>

namespace autocircuit {

namespace {

template <typename Number>
Number parse(const std::string& key, const std::string& value) {
  Number number{};
  const char* end = value.data() + value.size();
  const auto result = std::from_chars(value.data(), end, number);
  TORCH_CHECK(
      result.ec == std::errc() && result.ptr == end,
      "model description: expected a number for ",
      key,
      ", got '",
      value,
      "'");
  return number;
}

} // namespace

Description::Description(const std::string& text) {
  std::istringstream lines(text);
  for (std::string line; std::getline(lines, line);) {
    const size_t separator = line.find('=');
    TORCH_CHECK(
        separator != std::string::npos,
        "model description: expected key=value, got '",
        line,
        "'");
    values_[line.substr(0, separator)] = line.substr(separator + 1);
  }
}

const std::string& Description::text(const std::string& key) const {
  const auto found = values_.find(key);
  TORCH_CHECK(
      found != values_.end(), "model description: ", key, " is missing");
  return found->second;
}

int64_t Description::size(const std::string& key) const {
  const auto value = parse<int64_t>(key, text(key));
  TORCH_CHECK(
      value > 0,
      "model description: expected a positive ",
      key,
      ", got ",
      value);
  return value;
}

double Description::number(const std::string& key) const {
  return parse<double>(key, text(key));
}

std::string Description::text(
    const std::string& key,
    const std::string& missing) const {
  return values_.contains(key) ? text(key) : missing;
}

int64_t Description::size(const std::string& key, int64_t missing) const {
  return values_.contains(key) ? size(key) : missing;
}

double Description::number(const std::string& key, double missing) const {
  return values_.contains(key) ? number(key) : missing;
}

bool Description::flag(const std::string& key) const {
  const std::string value = text(key, "false");
  TORCH_CHECK(
      value == "true" || value == "false",
      "model description: expected true or false for ",
      key,
      ", got '",
      value,
      "'");
  return value == "true";
}

} // namespace autocircuit
