// The kernel of head products against the general product in fp64.
#include "autocircuit/ops/head_product.h"

#include <ATen/ops/randn.h>
#include <torch/csrc/autograd/autograd.h>

#include "check.h"
#include "devices.h"

namespace autocircuit::test {

namespace {

struct Sizes {
  int64_t batch, seq, heads, repeats, k, n;
};

// Parts of tiles, of blocks of rows and of panels; and none.
constexpr Sizes kSizes[] = {
    {1, 1, 1, 1, 1, 1},
    {2, 3, 3, 1, 5, 7},
    {2, 3, 4, 1, 1, 9}, // as latents of an autoencoder
    {1, 13, 2, 2, 33, 50},
    {5, 1, 4, 1, 64, 32},
    {3, 5, 2, 3, 300, 65},
    {2, 130, 2, 1, 520, 130},
};

// The operands of a product, as they lie in a model.
struct Operands {
  explicit Operands(const Sizes& s)
      : x(at::randn({s.batch, s.seq, s.heads * s.repeats + 2, s.k})
              .narrow(2, 1, s.heads * s.repeats)),
        columns(at::randn({s.k, (s.heads + 1) * s.n})
                    .narrow(1, s.n, s.heads * s.n)
                    .unflatten(1, at::IntArrayRef{s.heads, s.n})
                    .transpose(0, 1)),
        rows(at::randn({s.heads, s.n, s.k}).transpose(1, 2)),
        bias(at::randn({s.heads, s.n, 2}).select(2, 1)) {}

  at::Tensor x;
  at::Tensor columns; // weights whose columns are adjacent
  at::Tensor rows;    // weights whose rows are
  at::Tensor bias;
};

at::Tensor in_wide_type(const at::Tensor& x) {
  return x.defined() ? x.to(at::kDouble) : x;
}

} // namespace

TEST(head_products_are_those_of_the_general_product) {
  cpu_only("kernels");
  for (const Sizes& s : kSizes) {
    const Operands o(s);
    for (const at::Tensor& w : {o.columns, o.rows}) {
      for (const at::Tensor& b : {o.bias, at::Tensor()}) {
        for (const at::Tensor& x : {o.x, o.x.narrow(1, s.seq - 1, 1)}) {
          CHECK_CLOSE(
              head_product(x, w, b),
              head_product(in_wide_type(x), in_wide_type(w), in_wide_type(b))
                  .to(at::kFloat),
              1e-4,
              1e-4);
        }
      }
    }
  }
}

TEST(head_products_are_written_where_they_belong) {
  cpu_only("kernels");
  for (const Sizes& s : kSizes) {
    const Operands o(s);
    const int64_t heads = s.heads * s.repeats;
    const at::Tensor buffer =
        at::full({s.batch, s.seq, heads + 2, s.n}, 7, o.x.options());
    head_product_out(buffer.narrow(2, 1, heads), o.x, o.columns);
    CHECK_CLOSE(
        buffer.narrow(2, 1, heads), head_product(o.x, o.columns), 1e-6, 1e-6);
    for (const int64_t beside : {int64_t{0}, heads + 1}) {
      CHECK(buffer.select(2, beside).eq(7).all().item<bool>());
    }
  }
}

TEST(head_products_have_the_gradient_of_the_general_product) {
  cpu_only("kernels");
  for (const Sizes& s : kSizes) {
    const Operands o(s);
    const auto gradient = [&](const auto& type) {
      const at::Tensor x = type(o.x).detach().requires_grad_(true);
      const at::Tensor y = head_product(x, type(o.columns), type(o.bias));
      return torch::autograd::grad({y.square().sum()}, {x})[0];
    };
    const at::Tensor expected = gradient(in_wide_type).to(at::kFloat);
    const double scale = expected.abs().max().item<double>();
    CHECK_CLOSE(
        gradient([](const at::Tensor& x) { return x; }),
        expected,
        1e-4,
        1e-4 * (1 + scale));
  }
}

TEST(head_products_name_shapes_that_do_not_fit) {
  cpu_only("kernels");
  const Operands o(kSizes[1]);
  CHECK_THROWS(head_product(o.x.narrow(2, 0, 2), o.columns), "[2, 3, 2, 5]");
  CHECK_THROWS(head_product(o.x.narrow(3, 0, 4), o.columns), "[3, 5, 7]");
  CHECK_THROWS(head_product_out(o.x, o.x, o.columns), "expected a buffer");
}

// Weights that are trained have gradients of their own.
TEST(head_products_of_trained_weights_reach_them) {
  cpu_only("kernels");
  const Operands o(kSizes[1]);
  const at::Tensor w = o.columns.detach().requires_grad_(true);
  const at::Tensor y = head_product(o.x, w, o.bias);
  const at::Tensor grad = torch::autograd::grad({y.sum()}, {w})[0];
  const at::Tensor expected = o.x.sum({0, 1}).unsqueeze(-1).expand(w.sizes());
  CHECK_CLOSE(grad, expected, 1e-4, 1e-4);
}

} // namespace autocircuit::test
