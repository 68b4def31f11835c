#pragma once

#include <cstdint>
#include <map>
#include <string>

namespace autocircuit {

/// The structure of a model as Java states it: key=value lines.
class Description {
 public:
  explicit Description(const std::string& text);

  /// The value of a key; throws if it is missing (or no number, or below 1).
  const std::string& text(const std::string& key) const;
  int64_t size(const std::string& key) const;
  double number(const std::string& key) const;

  /// The same, with a value for a missing key.
  std::string text(const std::string& key, const std::string& missing) const;
  int64_t size(const std::string& key, int64_t missing) const;
  double number(const std::string& key, double missing) const;
  /// true or false; false where the key is missing.
  bool flag(const std::string& key) const;

 private:
  std::map<std::string, std::string> values_;
};

} // namespace autocircuit
