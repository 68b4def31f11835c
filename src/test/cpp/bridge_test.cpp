#include "autocircuit/bridge/bridge.h"

#include "check.h"

namespace bridge = autocircuit::bridge;

TEST(add_sums_elementwise) {
  const at::Tensor ones = at::ones({2, 3});
  CHECK_CLOSE(bridge::add(ones, ones), at::full({2, 3}, 2.0), 0.0, 0.0);
}

TEST(add_refuses_other_shapes) {
  CHECK_THROWS(bridge::add(at::ones({2}), at::ones({3})), "expected [2], got [3]");
}
