// The arithmetic of patched forwards: kernels and shared buffers against plain
// products.
#include "autocircuit/engine/source_buffer.h"

#include <torch/csrc/autograd/autograd.h>

#include "autocircuit/engine/kernel_rows.h"
#include "autocircuit/engine/masked_rows.h"
#include "devices.h"

#include "check.h"

namespace autocircuit::test {

namespace {

struct Mix {
  int64_t batch = 2;
  int64_t seq = 3;
  int64_t rows = 7;
  int64_t n = 5;
  int64_t d = 37; // more than two vectors and a rest
  bool by_example = false;
  bool by_position = false;

  at::Tensor values() const {
    return at::randn(
        {by_example ? batch : 1, by_position ? seq : 1, rows, n}, at::kDouble);
  }
};

std::vector<Mix> mixes() {
  std::vector<Mix> all;
  for (const bool by_example : {false, true}) {
    for (const bool by_position : {false, true}) {
      for (const int64_t rows : {1, 5, 12, 27}) {
        for (const int64_t n :
             {5, 29}) { // rows that are read at once, and more
          Mix mix;
          mix.by_example = by_example;
          mix.by_position = by_position;
          mix.rows = rows;
          mix.n = n;
          all.push_back(mix);
        }
      }
    }
  }
  return all;
}

Norm random_norm(int64_t d, bool centred, bool affine) {
  return Norm(
      Weights(
          {"n.w", "n.b"},
          {at::randn({d}, at::kDouble), at::randn({d}, at::kDouble)}),
      "n",
      d,
      {.centred = centred, .affine = affine, .eps = 1e-5, .weight_offset = 0});
}

Norm single(const Norm& norm, int64_t d) {
  std::vector<std::string> names{"other"};
  std::vector<at::Tensor> tensors{at::zeros({1})};
  if (norm.dimension_factor().defined()) {
    names.emplace_back("n.w");
    tensors.push_back(norm.dimension_factor().to(at::kFloat));
  }
  if (norm.bias().defined()) {
    names.emplace_back("n.b");
    tensors.push_back(norm.bias().to(at::kFloat));
  }
  return Norm(
      Weights(names, tensors),
      "n",
      d,
      {.centred = norm.centred(),
       .affine = norm.dimension_factor().defined(),
       .eps = norm.eps(),
       .weight_offset = 0});
}

// Results in fp32 come from the kernels, those in fp64 from plain operations.
void check_kernels(const Mix& m, const Norm* norm) {
  const at::Tensor base = at::randn({m.batch, m.seq, m.d}, at::kDouble);
  const at::Tensor delta = at::randn({m.batch, m.seq, m.n, m.d}, at::kDouble);
  const at::Tensor values = m.values();
  const auto f = [](const at::Tensor& x) { return x.to(at::kFloat); };
  std::optional<Norm> float_norm;
  if (norm != nullptr) {
    float_norm.emplace(single(*norm, m.d));
  }
  const Norm* fn = float_norm ? &*float_norm : nullptr;

  const at::Tensor expected = masked_rows({base}, values, delta, norm);
  CHECK_CLOSE(
      masked_rows({f(base)}, f(values), f(delta), fn), f(expected), 1e-4, 1e-4);

  const at::Tensor grad = at::randn(expected.sizes(), at::kDouble);
  at::Tensor grad_delta = at::randn(delta.sizes(), at::kDouble);
  at::Tensor float_grad_delta = f(grad_delta);
  const auto wanted =
      masked_rows_backward(grad, {base}, values, delta, norm, {}, grad_delta);
  const auto got = masked_rows_backward(
      f(grad), {f(base)}, f(values), f(delta), fn, {}, float_grad_delta);
  CHECK_CLOSE(got.stream, f(wanted.stream), 1e-3, 1e-3);
  CHECK_CLOSE(got.values, f(wanted.values), 1e-3, 1e-3);
  CHECK_CLOSE(float_grad_delta, f(grad_delta), 1e-3, 1e-3);

  const auto equal = equal_rows_backward(grad, base, values, delta, norm);
  const auto float_equal =
      equal_rows_backward(f(grad), f(base), f(values), f(delta), fn);
  CHECK_CLOSE(float_equal.stream, f(equal.stream), 1e-3, 1e-3);
  CHECK_CLOSE(float_equal.values, f(equal.values), 1e-3, 1e-3);
}

} // namespace

TEST(masked_rows_are_batched_products) {
  cpu_only("kernels");
  at::manual_seed(3);
  for (const Mix& m : mixes()) {
    const at::Tensor base = at::randn({m.batch, m.seq, m.d}, at::kDouble);
    const at::Tensor delta = at::randn({m.batch, m.seq, m.n, m.d}, at::kDouble);
    const at::Tensor values = m.values();
    CHECK_CLOSE(
        masked_rows({base}, values, delta, nullptr),
        base.unsqueeze(2) + (values.unsqueeze(-1) * delta.unsqueeze(2)).sum(3),
        1e-12,
        1e-12);
  }
}

TEST(kernels_agree_with_plain_operations) {
  cpu_only("kernels");
  at::manual_seed(4);
  for (const Mix& m : mixes()) {
    check_kernels(m, nullptr);
    for (const bool centred : {false, true}) {
      for (const bool affine : {false, true}) {
        const Norm norm = random_norm(m.d, centred, affine);
        check_kernels(m, &norm);
      }
    }
  }
}

// Rows of no terms, of fewer than are read at once, and of more.
TEST(sparse_rows_are_sums_of_their_terms) {
  cpu_only("kernels");
  const at::Tensor base = at::randn({2, 3, 37});
  const at::Tensor delta = at::randn({2, 3, 31, 37});
  const std::vector<int64_t> starts{0, 0, 7, 36, 37};
  const at::Tensor terms = at::randint(31, {37}, at::kLong);
  for (const int64_t seq : {1, 3}) {
    const at::Tensor weights = at::randn({2, seq, 37});
    const at::Tensor rows = kernel_sparse_rows(
        {base},
        starts,
        {terms.const_data_ptr<int64_t>(),
         terms.const_data_ptr<int64_t>() + terms.numel()},
        weights,
        delta,
        nullptr);
    const at::Tensor parts =
        delta.index_select(2, terms) * weights.unsqueeze(-1);
    for (int64_t r = 0; r < 4; r++) {
      const auto row = static_cast<size_t>(r);
      CHECK_CLOSE(
          rows.select(2, r),
          base +
              parts.narrow(2, starts[row], starts[row + 1] - starts[row])
                  .sum(2),
          1e-5,
          1e-5);
    }
  }
}

// Against fp64 arithmetic on the same 16-bit operands: sums over a thousand
// sources are as good as one rounding, gradients as good as fp32.
TEST(masked_rows_of_16_bits_are_rounded_once) {
  cpu_only("kernels");
  for (const at::ScalarType type : {at::kBFloat16, at::kHalf}) {
    // Half of the gap between neighbouring numbers, and what fp32 adds.
    const double rounding = type == at::kHalf ? 0x1.01p-11 : 0x1.01p-8;
    for (Mix m : mixes()) {
      m.n = 1000;
      at::manual_seed(m.rows);
      const auto f64 = [](const at::Tensor& x) { return x.to(at::kDouble); };
      const at::Tensor base = at::randn({m.batch, m.seq, m.d}).to(type);
      const at::Tensor delta = at::randn({m.batch, m.seq, m.n, m.d}).to(type);
      const at::Tensor values = m.values().to(at::kFloat);
      const at::Tensor rows = masked_rows({base}, values, delta, nullptr);
      CHECK_EQUAL(rows.scalar_type(), type);
      CHECK_CLOSE(
          f64(rows),
          masked_rows({f64(base)}, f64(values), f64(delta), nullptr),
          rounding,
          1e-3);
      const at::Tensor grad = at::randn(rows.sizes()).to(type);
      const at::Tensor grad_delta = at::ones(delta.sizes());
      const at::Tensor wide_grad_delta = f64(grad_delta);
      const auto got = masked_rows_backward(
          grad, {base}, values, delta, nullptr, {}, grad_delta);
      const auto wanted = masked_rows_backward(
          f64(grad),
          {f64(base)},
          f64(values),
          f64(delta),
          nullptr,
          {},
          wide_grad_delta);
      CHECK_CLOSE(got.values, wanted.values.to(at::kFloat), 1e-4, 1e-4);
      CHECK_CLOSE(grad_delta, wide_grad_delta.to(at::kFloat), 1e-4, 1e-4);
      CHECK_CLOSE(f64(got.stream), wanted.stream, rounding, 1e-4);
    }
  }
}

TEST(masked_rows_name_types_that_do_not_fit) {
  cpu_only("kernels");
  const at::Tensor delta = at::zeros({1, 1, 2, 4}, at::kBFloat16);
  const at::Tensor base = at::zeros({1, 1, 4}, at::kBFloat16);
  const at::Tensor values = at::zeros({1, 1, 3, 2});
  masked_rows({base}, values, delta, nullptr);
  CHECK_THROWS(
      masked_rows({base}, values.to(at::kBFloat16), delta, nullptr),
      "values of Float");
  CHECK_THROWS(
      masked_rows({base}, values.to(at::kDouble), delta, nullptr),
      "and Double");
  CHECK_THROWS(
      masked_rows({base.to(at::kDouble)}, values, delta, nullptr),
      "got Double and Float");
}

// A buffer that two destinations read, the first between two records.
TEST(source_buffer_gradients_are_those_of_plain_operations) {
  cpu_only("kernels");
  at::manual_seed(6);
  const auto leaf = [](at::IntArrayRef shape) {
    return at::randn(shape, at::kDouble).requires_grad_(true);
  };
  const Norm norm = random_norm(4, /*centred=*/true, /*affine=*/true);
  const at::Tensor patch = leaf({5, 2, 3, 4});
  const at::Tensor first = leaf({2, 3, 1, 4});
  const at::Tensor base = leaf({2, 3, 4});
  const at::Tensor early = leaf({1, 1, 2, 1});
  const at::Tensor late = leaf({2, 3, 3, 4}); // for each token; skips source 0
  const at::Tensor weights = at::randn({2, 4, 4}, at::kDouble);
  const auto run =
      [&](const auto& record, const auto& record_heads, const auto& rows) {
        record(0, first);
        const at::Tensor z = rows(base, early, 0, &norm); // [2, 3, 2, 4]
        const at::Tensor sum = record_heads(1, z);
        record(3, at::stack({sum.tanh(), sum}, 2));
        return rows(base + sum, late, 1, nullptr).square().sum();
      };

  SourceBuffer buffer(patch);
  const at::Tensor shared = run(
      [&](int64_t start, const at::Tensor& out) { buffer.record(start, out); },
      [&](int64_t start, const at::Tensor& z) {
        return buffer.record_heads(start, z, weights);
      },
      [&](const at::Tensor& b, const at::Tensor& v, int64_t s, const Norm* n) {
        return buffer.rows({b}, v, s, n);
      });
  std::vector<at::Tensor> deltas(5);
  const auto keep = [&](int64_t start, const at::Tensor& out) {
    for (int64_t i = 0; i < out.size(2); i++) {
      deltas[static_cast<size_t>(start + i)] =
          patch[start + i] - out.select(2, i);
    }
  };
  const at::Tensor plain = run(
      keep,
      [&](int64_t start, const at::Tensor& z) {
        const at::Tensor out = at::einsum("bshk,hkd->bshd", {z, weights});
        keep(start, out);
        return out.sum(2);
      },
      [&](const at::Tensor& b, const at::Tensor& v, int64_t s, const Norm* n) {
        const std::vector<at::Tensor> used(
            deltas.begin() + s, deltas.begin() + s + v.size(3));
        const at::Tensor x = b.unsqueeze(2) + at::matmul(v, at::stack(used, 2));
        return n == nullptr ? x : (*n)(x);
      });
  CHECK_CLOSE(shared, plain, 1e-12, 1e-12);
  const std::vector<at::Tensor> leaves{patch, first, base, early, late};
  const auto expected = torch::autograd::grad({plain}, leaves);
  const auto actual = torch::autograd::grad({shared}, leaves);
  for (size_t i = 0; i < leaves.size(); i++) {
    CHECK_CLOSE(actual[i], expected[i], 1e-12, 1e-12);
  }
}

// If all values are 0, rows are equal; their gradients are those of rows
// that are apart.
TEST(equal_rows_have_the_gradients_of_separate_rows) {
  cpu_only("kernels");
  at::manual_seed(7);
  const Norm norm = random_norm(4, /*centred=*/true, /*affine=*/true);
  const at::Tensor patch = at::randn({3, 2, 3, 4}, at::kDouble);
  const at::Tensor x = at::randn({2, 3, 4}, at::kDouble).requires_grad_(true);
  const at::Tensor values =
      at::zeros({1, 1, 5, 3}, at::kDouble).requires_grad_(true);
  SourceBuffer buffer(patch);
  buffer.record(0, at::randn({2, 3, 3, 4}, at::kDouble));
  const at::Tensor weights = at::randn({2, 3, 5, 4}, at::kDouble);
  const auto grads = [&](const at::Tensor& rows) {
    return torch::autograd::grad(
        {(rows * weights).square().sum()}, {x, values});
  };
  const auto equal =
      grads(equal_rows(x, values, buffer.differences(), 0, &norm));
  const auto apart = grads(buffer.rows({x}, values, 0, &norm));
  CHECK_CLOSE(equal[0], apart[0], 1e-12, 1e-12);
  CHECK_CLOSE(equal[1], apart[1], 1e-12, 1e-12);
}

TEST(masked_rows_are_those_of_the_cpu) {
  const at::Device device = other_device_or_skip();
  at::manual_seed(8);
  for (const Mix& m : mixes()) {
    const at::Tensor base = at::randn({m.batch, m.seq, m.d}, at::kDouble);
    const at::Tensor delta = at::randn({m.batch, m.seq, m.n, m.d}, at::kDouble);
    const at::Tensor values = m.values();
    const at::Tensor rows = masked_rows({base}, values, delta, nullptr);
    CHECK_CLOSE(
        masked_rows(
            {base.to(device)}, values.to(device), delta.to(device), nullptr)
            .cpu(),
        rows,
        1e-10,
        1e-10);
    const at::Tensor on_cpu = at::zeros_like(delta);
    const at::Tensor on_device = at::zeros_like(delta).to(device);
    const auto expected =
        masked_rows_backward(rows, {base}, values, delta, nullptr, {}, on_cpu);
    const auto actual = masked_rows_backward(
        rows.to(device),
        {base.to(device)},
        values.to(device),
        delta.to(device),
        nullptr,
        {},
        on_device);
    CHECK_CLOSE(actual.values.cpu(), expected.values, 1e-10, 1e-10);
    CHECK_CLOSE(on_device.cpu(), on_cpu, 1e-10, 1e-10);
  }
}

} // namespace autocircuit::test
