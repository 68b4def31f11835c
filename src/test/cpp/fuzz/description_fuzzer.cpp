// Any text as a model's description: each of its values is read or refused.
#include <cstdint>
#include <sstream>
#include <string>

#include <c10/util/Exception.h>

#include "autocircuit/model/description.h"

namespace {

template <typename Read>
void or_refused(Read&& read) {
  try {
    read();
  } catch (const c10::Error&) {
    // Refused.
  }
}

} // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const std::string text(reinterpret_cast<const char*>(data), size);
  or_refused([&] {
    const autocircuit::Description description(text);
    std::istringstream lines(text);
    for (std::string key; std::getline(lines, key, '=');) {
      or_refused([&] { description.text(key); });
      or_refused([&] { description.size(key); });
      or_refused([&] { description.number(key, 1); });
      or_refused([&] { description.flag(key); });
      lines.ignore(static_cast<std::streamsize>(size), '\n');
    }
  });
  return 0;
}
