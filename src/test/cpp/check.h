// A test framework in one header: TEST(name) { CHECK(...); } registers a test,
// main.cpp runs them and prints one line for each.
#pragma once

#include <ATen/ATen.h>

#include <cmath>
#include <cstdio>
#include <exception>
#include <functional>
#include <sstream>
#include <stdexcept>
#include <string>
#include <string_view>
#include <vector>

namespace autocircuit::test {

struct TestCase {
  const char* file;
  const char* name;
  std::function<void()> body;
};

// Thrown by a failed check; ends its test.
struct CheckFailure : std::runtime_error {
  using std::runtime_error::runtime_error;
};

// Thrown by SKIP: the test could not run here, and says why.
struct TestSkipped : std::runtime_error {
  using std::runtime_error::runtime_error;
};

inline std::vector<TestCase>& all_tests() {
  static std::vector<TestCase> tests;
  return tests;
}

struct Registration {
  Registration(const char* file, const char* name, std::function<void()> body) {
    all_tests().push_back({file, name, std::move(body)});
  }
};

template <typename... Parts>
[[noreturn]] void fail(const char* file, int line, const Parts&... parts) {
  std::ostringstream text;
  text << file << ":" << line << ": ";
  (text << ... << parts);
  throw CheckFailure(text.str());
}

// |actual - expected| <= atol + rtol * |expected|, elementwise, compared on the
// CPU; shapes and dtypes must agree.
inline void check_close(
    const char* file,
    int line,
    const char* what,
    const at::Tensor& any_actual,
    const at::Tensor& any_expected,
    double rtol,
    double atol) {
  const at::Tensor actual = any_actual.cpu();
  const at::Tensor expected = any_expected.cpu();
  if (actual.sizes() != expected.sizes() ||
      actual.scalar_type() != expected.scalar_type()) {
    fail(
        file,
        line,
        what,
        ": expected ",
        expected.scalar_type(),
        expected.sizes(),
        ", got ",
        actual.scalar_type(),
        actual.sizes());
  }
  if (!at::allclose(actual, expected, rtol, atol, /*equal_nan=*/false)) {
    const double worst =
        (actual - expected).abs().max().to(at::kDouble).item<double>();
    fail(
        file,
        line,
        what,
        ": tensors differ by up to ",
        worst,
        "\nactual\n",
        actual,
        "\nexpected\n",
        expected);
  }
}

inline void check_close(
    const char* file,
    int line,
    const char* what,
    double actual,
    double expected,
    double rtol,
    double atol) {
  if (!(std::abs(actual - expected) <= atol + rtol * std::abs(expected))) {
    fail(file, line, what, ": expected ", expected, ", got ", actual);
  }
}

} // namespace autocircuit::test

#define AUTOCIRCUIT_TEST_CONCAT_(a, b) a##b
#define AUTOCIRCUIT_TEST_CONCAT(a, b) AUTOCIRCUIT_TEST_CONCAT_(a, b)

#define TEST(name)                                                        \
  static void AUTOCIRCUIT_TEST_CONCAT(test_, name)();                     \
  static const ::autocircuit::test::Registration AUTOCIRCUIT_TEST_CONCAT( \
      registration_, name){                                               \
      __FILE__, #name, AUTOCIRCUIT_TEST_CONCAT(test_, name)};             \
  static void AUTOCIRCUIT_TEST_CONCAT(test_, name)()

// c10's own logging has a CHECK that aborts.
#undef CHECK
#define CHECK(condition)                                                    \
  do {                                                                      \
    if (!(condition)) {                                                     \
      ::autocircuit::test::fail(__FILE__, __LINE__, "failed: " #condition); \
    }                                                                       \
  } while (false)

// Values that compare with == and print with <<.
#define CHECK_EQUAL(actual, expected)        \
  do {                                       \
    const auto& check_actual = (actual);     \
    const auto& check_expected = (expected); \
    if (!(check_actual == check_expected)) { \
      ::autocircuit::test::fail(             \
          __FILE__,                          \
          __LINE__,                          \
          #actual ": expected ",             \
          check_expected,                    \
          ", got ",                          \
          check_actual);                     \
    }                                        \
  } while (false)

// Two tensors or two numbers.
#define CHECK_CLOSE(actual, expected, rtol, atol) \
  ::autocircuit::test::check_close(               \
      __FILE__, __LINE__, #actual, (actual), (expected), (rtol), (atol))

// The expression throws an exception whose text contains `part`.
#define CHECK_THROWS(expression, part)                       \
  do {                                                       \
    std::string check_message;                               \
    bool check_thrown = false;                               \
    try {                                                    \
      static_cast<void>(expression);                         \
    } catch (const std::exception& error) {                  \
      check_thrown = true;                                   \
      check_message = error.what();                          \
    }                                                        \
    if (!check_thrown) {                                     \
      ::autocircuit::test::fail(                             \
          __FILE__, __LINE__, #expression " did not throw"); \
    }                                                        \
    if (check_message.find(part) == std::string::npos) {     \
      ::autocircuit::test::fail(                             \
          __FILE__,                                          \
          __LINE__,                                          \
          #expression " threw without \"",                   \
          part,                                              \
          "\": ",                                            \
          check_message);                                    \
    }                                                        \
  } while (false)

#define SKIP(reason) throw ::autocircuit::test::TestSkipped(reason)
