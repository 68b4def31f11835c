// Runs the registered tests: all, those whose name contains the argument, or
// with --file those of one source file, on the device that
// AUTOCIRCUIT_TEST_DEVICE names. Exit code 1 if any fails.
#include "devices.h"

#include "check.h"
#include "far_device.h"

#include <chrono>
#include <cstring>

namespace {

using autocircuit::test::TestCase;

// "src/test/cpp/patch_test.cpp" -> "patch_test"
std::string file_stem(std::string_view path) {
  path.remove_prefix(path.find_last_of('/') + 1);
  return std::string(path.substr(0, path.find('.')));
}

enum class Outcome { kPassed, kFailed, kSkipped };

Outcome run(const TestCase& test) {
  const std::string name = file_stem(test.file) + "." + test.name;
  const auto start = std::chrono::steady_clock::now();
  Outcome outcome = Outcome::kPassed;
  std::string message;
  try {
    test.body();
  } catch (const autocircuit::test::TestSkipped& skipped) {
    outcome = Outcome::kSkipped;
    message = skipped.what();
  } catch (const c10::Error& error) {
    outcome = Outcome::kFailed;
    message = error.what_without_backtrace();
  } catch (const std::exception& error) {
    outcome = Outcome::kFailed;
    message = error.what();
  } catch (...) {
    outcome = Outcome::kFailed;
    message = "an exception that is no std::exception";
  }
  const double seconds =
      std::chrono::duration<double>(std::chrono::steady_clock::now() - start)
          .count();
  const char* label = outcome == Outcome::kPassed ? "ok  "
      : outcome == Outcome::kSkipped              ? "skip"
                                                  : "FAIL";
  std::printf("%s %s (%.3f s)\n", label, name.c_str(), seconds);
  if (!message.empty()) {
    std::printf("     %s\n", message.c_str());
  }
  std::fflush(stdout);
  return outcome;
}

} // namespace

int main(int argc, char** argv) {
  if (const char* device = std::getenv("AUTOCIRCUIT_TEST_DEVICE")) {
    if (std::strcmp(device, "far") == 0) {
      autocircuit::test::install_far_device();
    }
    try {
      at::empty({1}, autocircuit::test::test_device());
    } catch (const c10::Error& error) {
      const std::string message = error.what_without_backtrace();
      std::printf(
          "no device %s: %s\n",
          device,
          message.find("Could not run") != std::string::npos
              ? "this LibTorch was built without it"
              : message.substr(0, message.find('\n')).c_str());
      return 1;
    }
  }
  const bool by_file = argc > 2 && std::strcmp(argv[1], "--file") == 0;
  const std::string filter = argc > 1 ? argv[argc - 1] : "";
  int passed = 0;
  int failed = 0;
  int skipped = 0;
  for (const TestCase& test : autocircuit::test::all_tests()) {
    const bool wanted = by_file
        ? file_stem(test.file) == filter
        : std::string(test.name).find(filter) != std::string::npos;
    if (!wanted) {
      continue;
    }
    switch (run(test)) {
      case Outcome::kPassed:
        ++passed;
        break;
      case Outcome::kFailed:
        ++failed;
        break;
      case Outcome::kSkipped:
        ++skipped;
        break;
    }
  }
  std::printf(
      "C++ tests: %d passed, %d failed, %d skipped\n", passed, failed, skipped);
  // A filter that matches nothing is a mistake, not a success.
  return failed == 0 && passed + skipped > 0 ? 0 : 1;
}
