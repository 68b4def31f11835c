// Products, which threads share, against LibTorch's own.
#include "autocircuit/ops/product.h"

#include <ATen/core/grad_mode.h>
#include <ATen/ops/addmm.h>
#include <ATen/ops/matmul.h>
#include <torch/csrc/autograd/autograd.h>

#include "autocircuit/ops/few_rows.h"

#include "check.h"
#include "devices.h"
#include "threads.h"

namespace autocircuit::test {

namespace {

struct Factors {
  std::vector<int64_t> batch;
  int64_t m;
  int64_t k;
  int64_t n;
  bool transposed = false;

  at::Tensor random(int64_t rows, int64_t columns, at::ScalarType type) const {
    std::vector<int64_t> shape = batch;
    shape.push_back(transposed ? columns : rows);
    shape.push_back(transposed ? rows : columns);
    const at::Tensor x = at::randn(shape, at::TensorOptions(type));
    return transposed ? x.transpose(-2, -1) : x;
  }
  at::Tensor a(at::ScalarType type = at::kDouble) const {
    return random(m, k, type);
  }
  at::Tensor b(at::ScalarType type = at::kDouble) const {
    return random(k, n, type);
  }
};

// Small ones, of one piece; and ones with more than enough work for three
// threads in columns, rows, and matrices of one batch dimension and of two.
const Factors kFactors[] = {
    {{}, 5, 7, 3},
    {{}, 16, 256, 1031},
    {{}, 16, 256, 1031, true},
    {{}, 1031, 256, 16},
    {{}, 1, 2048, 2050},
    {{5}, 40, 130, 130},
    {{1, 5}, 40, 130, 130, true},
    {{3, 2}, 40, 130, 130},
    {{}, 0, 300, 400}};

} // namespace

TEST(products_are_those_of_libtorch) {
  cpu_only("kernels");
  for (const int threads : {1, 2, 3}) {
    const Threads scope(threads);
    for (const Factors& of : kFactors) {
      const at::Tensor a = of.a();
      const at::Tensor b = of.b();
      CHECK_CLOSE(product(a, b), at::matmul(a, b), 1e-10, 1e-10);
      if (of.batch.empty()) {
        const at::Tensor bias = at::randn({of.n}, at::kDouble);
        CHECK_CLOSE(affine(a, b, bias), at::addmm(bias, a, b), 1e-10, 1e-10);
      }
    }
  }
}

TEST(products_of_floats_where_they_lie) {
  cpu_only("kernels");
  for (const int threads : {1, 3}) {
    const Threads scope(threads);
    for (const int64_t m : {17, 491}) {
      for (const int64_t k : {1, 16, 300}) {
        for (const int64_t n : {5, 64, 133}) {
          const at::Tensor wide = at::randn({m, k + 3});
          const at::Tensor bias = at::randn({n});
          for (const at::Tensor& a :
               {at::randn({m, k}), wide.narrow(1, 2, k)}) {
            for (const at::Tensor& b :
                 {at::randn({k, n}),
                  at::randn({n, k}).t(),
                  at::randn({k, n + 7}).narrow(1, 3, n),
                  at::randn({n, k + 5}).narrow(1, 1, k).t(),
                  at::randn({k, 2 * n}).slice(1, 0, 2 * n, 2)}) {
              const at::Tensor expected =
                  at::matmul(a.to(at::kDouble), b.to(at::kDouble));
              CHECK_CLOSE(product(a, b), expected.to(at::kFloat), 1e-4, 1e-4);
              CHECK_CLOSE(
                  affine(a, b, bias),
                  (expected + bias).to(at::kFloat),
                  1e-4,
                  1e-4);
            }
          }
        }
      }
    }
  }
}

TEST(products_of_few_rows) {
  cpu_only("kernels");
  for (const int threads : {1, 3}) {
    const Threads scope(threads);
    for (const int64_t rows : {1, 8, 13, 16}) {
      for (const int64_t columns : {3, 64, 1031}) {
        const Factors of{{}, rows, 515, columns};
        const at::Tensor a = of.a(at::kFloat);
        const at::Tensor b = of.b(at::kFloat);
        const at::Tensor bias = at::randn({columns});
        CHECK(has_few_rows(a, b, bias));
        CHECK_CLOSE(affine(a, b, bias), at::addmm(bias, a, b), 1e-4, 1e-4);
        CHECK_CLOSE(affine(a, b, {}), at::matmul(a, b), 1e-4, 1e-4);
        const at::Tensor some = b.narrow(1, 1, columns - 2); // rows apart
        CHECK_CLOSE(affine(a, some, {}), at::matmul(a, some), 1e-4, 1e-4);
        CHECK(!has_few_rows(a, b.t().contiguous().t(), bias) || columns == 1);
        CHECK(!has_few_rows(a.clone().requires_grad_(true), b, bias));
      }
    }
  }
}

TEST(biases_that_do_not_fit_are_named) {
  cpu_only("kernels");
  CHECK_THROWS(
      affine(at::randn({20, 3}), at::randn({3, 4}), at::randn({5})),
      "expected 4 numbers to add, got [5]");
}

TEST(products_without_terms) {
  cpu_only("kernels");
  const at::Tensor a = at::randn({3, 0});
  const at::Tensor b = at::randn({0, 5});
  const at::Tensor bias = at::randn({5});
  CHECK_CLOSE(affine(a, b, bias), bias.expand({3, 5}), 0, 0);
  CHECK_CLOSE(affine(a, b, {}), at::zeros({3, 5}), 0, 0);
}

TEST(gradients_of_products_are_those_of_libtorch) {
  cpu_only("kernels");
  const Threads scope(3);
  for (const Factors& of : kFactors) {
    const auto gradients = [&](auto multiply) {
      at::manual_seed(1);
      std::vector<at::Tensor> inputs{of.a(), of.b()};
      if (of.batch.empty()) {
        inputs.push_back(at::randn({of.n}, at::kDouble));
      }
      for (at::Tensor& x : inputs) {
        x.requires_grad_(true);
      }
      return torch::autograd::grad({multiply(inputs).square().sum()}, inputs);
    };
    const auto expected = gradients([](const auto& x) {
      return x.size() == 3 ? at::addmm(x[2], x[0], x[1])
                           : at::matmul(x[0], x[1]);
    });
    const auto actual = gradients([](const auto& x) {
      return x.size() == 3 ? affine(x[0], x[1], x[2]) : product(x[0], x[1]);
    });
    for (size_t i = 0; i < expected.size(); i++) {
      CHECK_CLOSE(actual[i], expected[i], 1e-8, 1e-8);
    }
  }
}

TEST(products_inside_a_thread_of_a_pass) {
  cpu_only("kernels");
  const Threads scope(3);
  const Factors of{{}, 16, 256, 1031};
  const at::Tensor a = of.a(at::kFloat).requires_grad_(true);
  const at::Tensor b = of.b(at::kFloat);
  std::vector<at::Tensor> results(6);
  at::parallel_for(0, 6, 1, [&](int64_t begin, int64_t end) {
    const at::NoGradGuard no_grad;
    for (int64_t i = begin; i < end; i++) {
      results[static_cast<size_t>(i)] = product(a, b);
    }
  });
  for (const at::Tensor& result : results) {
    CHECK_CLOSE(result, at::matmul(a, b), 1e-4, 1e-4);
  }
}

} // namespace autocircuit::test
