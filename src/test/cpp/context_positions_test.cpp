// Tests who sees whom, and where tokens stand.
#include <limits>

#include "autocircuit/model/context_positions.h"

#include "check.h"
#include "devices.h"

namespace autocircuit::test {

namespace {

constexpr double kNever = -std::numeric_limits<double>::infinity();

// Rows of a table of 0 (may look) and 1 (may not) as a bias.
at::Tensor bias(std::vector<int64_t> hidden, at::IntArrayRef shape) {
  return at::zeros(shape, at::kDouble)
      .masked_fill(at::tensor(hidden, at::kLong).view(shape) != 0, kNever);
}

// CHECK_CLOSE has no tolerance for infinities.
void check_equal(const at::Tensor& actual, const at::Tensor& expected) {
  CHECK_EQUAL(actual.sizes().vec(), expected.sizes().vec());
  CHECK(at::equal(actual.cpu(), expected));
}

ContextPositions positions(
    int64_t seq,
    int64_t prefix,
    const at::Tensor& mask,
    at::IntArrayRef windows = {0}) {
  return {
      seq,
      prefix,
      to_device(mask),
      at::TensorOptions(test_device()).dtype(at::kDouble),
      std::nullopt,
      windows};
}

} // namespace

TEST(tokens_see_the_prefix_and_what_is_before_them) {
  check_equal(
      positions(3, 2, {}).attention_bias(0),
      bias({0, 0, 0, 1, 1, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0}, {3, 5}));
}

TEST(windows_end_and_each_is_made_once) {
  const ContextPositions p = positions(3, 2, {}, {2, 0});
  check_equal(
      p.attention_bias(2),
      bias({1, 0, 0, 1, 1, 1, 1, 0, 0, 1, 1, 1, 1, 0, 0}, {3, 5}));
  CHECK(p.attention_bias(2).is_same(p.attention_bias(2)));
  CHECK(!p.attention_bias(0).is_same(p.attention_bias(2)));
  CHECK_THROWS(p.attention_bias(3), "window of 3");
}

TEST(padding_sees_itself_and_nobody_sees_padding) {
  const at::Tensor mask =
      at::tensor({0, 0, 1, 1, 1, 1}, at::kLong).view({2, 3});
  check_equal(
      positions(3, 0, mask).attention_bias(0),
      bias(
          {0, 1, 1, 1, 0, 1, 1, 1, 0, 0, 1, 1, 0, 0, 1, 0, 0, 0},
          {2, 1, 3, 3}));
}

TEST(windows_do_not_count_padding_behind_a_prefix) {
  const at::Tensor mask = at::tensor({0, 0, 1}, at::kLong).view({1, 3});
  const at::Tensor last =
      positions(3, 2, mask, {2}).attention_bias(2).select(2, 2);
  // The token stands behind the prefix's last one.
  check_equal(last, bias({1, 0, 1, 1, 0}, {1, 1, 5}));
}

TEST(learned_positions_count_neither_padding_nor_gaps) {
  const at::Tensor w_pos =
      at::arange(1, 6, at::kDouble).unsqueeze(1); // 1 ... 5
  const at::Tensor mask =
      at::tensor({0, 1, 1, 1, 0, 7}, at::kLong).view({2, 3});
  check_equal(
      positions(3, 2, mask).embed(to_device(w_pos)).squeeze(2),
      at::tensor({0.0, 3.0, 4.0, 3.0, 0.0, 4.0}).view({2, 3}));
  check_equal(
      positions(3, 2, {}).embed(to_device(w_pos)).squeeze(2),
      at::tensor({3.0, 4.0, 5.0}).view({1, 3}));
}

TEST(patterns_of_padding_are_zero) {
  const at::Tensor mask = at::tensor({0, 1}, at::kLong).view({1, 2}) != 0;
  check_equal(
      positions(2, 0, mask)
          .clear_padding(to_device(at::ones({1, 1, 2, 2}, at::kDouble))),
      at::tensor({0.0, 0.0, 1.0, 1.0}).view({1, 1, 2, 2}));
}

} // namespace autocircuit::test
