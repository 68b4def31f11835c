// The arithmetic of patched forwards: shared buffers against plain products.
#include "autocircuit/patch/masked_sum.h"

#include <torch/csrc/autograd/autograd.h>

#include "autocircuit/patch/source_buffer.h"
#include "devices.h"

#include "check.h"

namespace autocircuit::test {

TEST(masked_sums_are_batched_products) {
  for (const int64_t groups : {1, 2, 6, 12}) {
    at::manual_seed(groups);
    const int64_t rows = 7;
    const int64_t n = 5;
    const at::Tensor delta = at::randn({n, 4, 3, 8}, at::kDouble);
    const at::Tensor values = at::randn({groups, rows, n}, at::kDouble);
    const auto grouped = [&](const at::Tensor& x) {
      return x.reshape({x.size(0), groups, -1}).transpose(0, 1);
    };
    for (const int64_t base_rows : {int64_t{1}, rows}) {
      const at::Tensor base = at::randn({base_rows, 4, 3, 8}, at::kDouble);
      const at::Tensor expected = base +
          at::bmm(values, grouped(delta))
              .transpose(0, 1)
              .reshape({rows, 4, 3, 8});
      CHECK_CLOSE(masked_sum(base, values, delta), expected, 1e-12, 1e-12);
    }
    const at::Tensor grad = at::randn({rows, 4, 3, 8}, at::kDouble);
    CHECK_CLOSE(
        masked_sum_grad_values(grad, delta, groups),
        at::bmm(grouped(grad), grouped(delta).transpose(1, 2)),
        1e-12,
        1e-12);
    at::Tensor grad_delta = at::ones_like(delta);
    add_masked_sum_grad_delta(grad_delta, grad, values);
    CHECK_CLOSE(
        grad_delta,
        1 +
            at::bmm(values.transpose(1, 2), grouped(grad))
                .transpose(0, 1)
                .reshape({n, 4, 3, 8}),
        1e-12,
        1e-12);
  }
}

// More columns than one tile has, the last tile being narrower.
TEST(masked_sums_in_tiles) {
  at::manual_seed(4);
  const at::Tensor delta = at::randn({3, 10, 10, 129}, at::kDouble);
  const at::Tensor values = at::randn({1, 2, 3}, at::kDouble);
  const at::Tensor base = at::randn({1, 10, 10, 129}, at::kDouble);
  CHECK_CLOSE(
      masked_sum(base, values, delta),
      base + at::mm(values[0], delta.view({3, -1})).view({2, 10, 10, 129}),
      1e-12,
      1e-12);
  at::Tensor grad_delta = at::zeros_like(delta);
  const at::Tensor grad = at::randn({2, 10, 10, 129}, at::kDouble);
  add_masked_sum_grad_delta(grad_delta, grad, values);
  CHECK_CLOSE(
      grad_delta,
      at::mm(values[0].t(), grad.view({2, -1})).view_as(delta),
      1e-12,
      1e-12);
}

// Against fp64 arithmetic on the same 16-bit operands: sums over a thousand
// sources are as good as one rounding, gradients as good as fp32.
TEST(masked_sums_of_16_bits_are_rounded_once) {
  const int64_t n = 1000;
  const int64_t rows = 3;
  for (const at::ScalarType type : {at::kBFloat16, at::kHalf}) {
    // Half of the gap between neighbouring numbers, and what fp32 adds.
    const double rounding = type == at::kHalf ? 0x1.01p-11 : 0x1.01p-8;
    for (const int64_t groups : {1, 2, 6}) {
      at::manual_seed(groups);
      const at::Tensor delta = at::randn({n, 2, 3, 8}).to(type);
      const at::Tensor base = at::randn({1, 2, 3, 8}).to(type);
      const at::Tensor grad = at::randn({rows, 2, 3, 8}).to(type);
      const at::Tensor values = at::rand({groups, rows, n});
      const at::Tensor wide_delta = delta.to(at::kDouble);
      const at::Tensor wide_grad = grad.to(at::kDouble);
      const at::Tensor wide_values = values.to(at::kDouble);

      const at::Tensor sum = masked_sum(base, values, delta);
      CHECK_EQUAL(sum.scalar_type(), type);
      CHECK_CLOSE(
          sum.to(at::kDouble),
          masked_sum(base.to(at::kDouble), wide_values, wide_delta),
          rounding,
          1e-4);
      CHECK_CLOSE(
          masked_sum_grad_values(grad, delta, groups),
          masked_sum_grad_values(wide_grad, wide_delta, groups).to(at::kFloat),
          1e-5,
          1e-5);
      const at::Tensor grad_delta = at::ones({n, 2, 3, 8});
      const at::Tensor wide_grad_delta = at::ones({n, 2, 3, 8}, at::kDouble);
      add_masked_sum_grad_delta(grad_delta, grad, values);
      add_masked_sum_grad_delta(wide_grad_delta, wide_grad, wide_values);
      CHECK_CLOSE(grad_delta, wide_grad_delta.to(at::kFloat), 1e-5, 1e-5);
    }
  }
}

TEST(masked_sums_name_types_that_do_not_fit) {
  const at::Tensor delta = at::zeros({2, 1, 1, 4}, at::kBFloat16);
  const at::Tensor base = at::zeros({1, 1, 1, 4}, at::kBFloat16);
  const at::Tensor values = at::zeros({1, 3, 2});
  masked_sum(base, values, delta);
  CHECK_THROWS(
      masked_sum(base, values.to(at::kBFloat16), delta), "values of Float");
  CHECK_THROWS(masked_sum(base, values.to(at::kDouble), delta), "and Double");
  CHECK_THROWS(
      masked_sum(base.to(at::kFloat), values, delta), "got Float and Float");
}

// A buffer that two destinations read, the first between two records.
TEST(source_buffer_gradients_are_those_of_plain_operations) {
  at::manual_seed(6);
  const auto leaf = [](at::IntArrayRef shape) {
    return at::randn(shape, at::kDouble).requires_grad_(true);
  };
  const at::Tensor patch = leaf({3, 2, 2, 4});
  const at::Tensor first = leaf({1, 2, 2, 4});
  const at::Tensor base = leaf({1, 2, 2, 4});
  const at::Tensor early = leaf({1, 2, 1});
  const at::Tensor late = leaf({4, 1, 2}); // for each token; skips source 0
  const auto run = [&](const auto& record, const auto& mix) {
    record(0, first);
    const at::Tensor x = mix(base, early, 0);
    record(1, x.tanh());
    return mix(base + x.sum(0, true), late, 1).square().sum();
  };

  SourceBuffer buffer(patch);
  const at::Tensor shared = run(
      [&](int64_t start, const at::Tensor& out) { buffer.record(start, out); },
      [&](const at::Tensor& b, const at::Tensor& v, int64_t start) {
        return buffer.interpolate(b, v, start);
      });
  std::vector<at::Tensor> deltas(3);
  const at::Tensor plain = run(
      [&](int64_t start, const at::Tensor& out) {
        for (int64_t i = 0; i < out.size(0); i++) {
          deltas[static_cast<size_t>(start + i)] = patch[start + i] - out[i];
        }
      },
      [&](const at::Tensor& b, const at::Tensor& v, int64_t start) {
        std::vector<at::Tensor> used(
            deltas.begin() + start, deltas.begin() + start + v.size(2));
        const at::Tensor delta =
            at::stack(used).reshape({v.size(2), v.size(0), -1}).transpose(0, 1);
        return b +
            at::bmm(v, delta).transpose(0, 1).reshape({v.size(1), 2, 2, 4});
      });
  CHECK_CLOSE(shared, plain, 1e-12, 1e-12);
  const std::vector<at::Tensor> leaves{patch, first, base, early, late};
  const auto expected = torch::autograd::grad({plain}, leaves);
  const auto actual = torch::autograd::grad({shared}, leaves);
  for (size_t i = 0; i < leaves.size(); i++) {
    CHECK_CLOSE(actual[i], expected[i], 1e-12, 1e-12);
  }
}

TEST(cuda_masked_sums) {
  const at::Device cuda = cuda_or_skip();
  for (const int64_t groups : {1, 2, 6}) {
    const at::Tensor delta = at::randn({5, 2, 3, 8}, at::kDouble);
    const at::Tensor values = at::randn({groups, 4, 5}, at::kDouble);
    const at::Tensor base = at::randn({1, 2, 3, 8}, at::kDouble);
    const at::Tensor grad = at::randn({4, 2, 3, 8}, at::kDouble);
    CHECK_CLOSE(
        masked_sum(base.to(cuda), values.to(cuda), delta.to(cuda)).cpu(),
        masked_sum(base, values, delta),
        1e-10,
        1e-10);
    CHECK_CLOSE(
        masked_sum_grad_values(grad.to(cuda), delta.to(cuda), groups).cpu(),
        masked_sum_grad_values(grad, delta, groups),
        1e-10,
        1e-10);
    at::Tensor on_cpu = at::zeros_like(delta);
    at::Tensor on_cuda = at::zeros_like(delta).to(cuda);
    add_masked_sum_grad_delta(on_cpu, grad, values);
    add_masked_sum_grad_delta(on_cuda, grad.to(cuda), values.to(cuda));
    CHECK_CLOSE(on_cuda.cpu(), on_cpu, 1e-10, 1e-10);
  }
}

} // namespace autocircuit::test
