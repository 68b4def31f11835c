#include "autocircuit/ops/head_product.h"

#include <ATen/Parallel.h>
#include <ATen/core/grad_mode.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/mul.h>
#include <torch/csrc/autograd/custom_function.h>

#include <algorithm>
#include <memory>
#include <optional>
#include <vector>

#include "autocircuit/kernels/product_kernels.h"
#include "autocircuit/kernels/row_kernels.h"
#include "autocircuit/kernels/tensors.h"
#include "autocircuit/ops/product.h"

namespace autocircuit {

using torch::autograd::AutogradContext;
using torch::autograd::variable_list;

namespace {

int64_t token_stride(const at::Tensor& x) {
  return x.size(1) == 1 ? x.stride(0) : x.stride(1);
}

// Returns whether there is one stride from token to token.
bool joins_tokens(const at::Tensor& x) {
  return x.size(0) == 1 || x.stride(0) == x.size(1) * token_stride(x);
}

bool has_kernel(const at::Tensor& x, const at::Tensor& w, const at::Tensor& b) {
  return is_on_cpu(x) && x.scalar_type() == at::kFloat &&
      w.scalar_type() == at::kFloat && w.size(1) > 1 &&
      (w.stride(1) == 1 || w.stride(2) == 1) && !is_recorded(w) &&
      !is_recorded(b);
}

// Latents of an autoencoder: each is a factor of its row of weights.
bool is_scaling(const at::Tensor& x, const at::Tensor& w) {
  return w.size(1) == 1 && x.size(2) == w.size(0);
}

void check_shapes(const at::Tensor& x, const at::Tensor& w) {
  TORCH_CHECK(
      x.dim() == 4 && w.dim() == 3 && w.size(0) > 0 &&
          x.size(2) % w.size(0) == 0 && x.size(3) == w.size(1),
      "expected [batch, seq, rows, k] for weights [heads, k, n], got ",
      x.sizes(),
      " for ",
      w.sizes());
}

// Rows of weights that stay in the cache while heads pass.
constexpr int64_t kDepth = 48;

struct Operand {
  at::Tensor out; // [batch, seq, rows, n]
  at::Tensor x;   // [batch, seq, rows, k]
};

// The same as packed_product in every bit: the weights are read where they lie,
// once for all operands, some rows of all heads at a time, as they are beside
// each other.
void multiply_few(
    const std::vector<Operand>& operands,
    const at::Tensor& w,
    const at::Tensor& b) {
  const int64_t heads = w.size(0);
  const int64_t k = w.size(1);
  const int64_t n = w.size(2);
  const auto* weights = w.const_data_ptr<float>();
  const std::vector<float> zeros(static_cast<size_t>(n));
  int64_t work = 0;
  for (const Operand& o : operands) {
    work += o.x.numel() / heads * n;
  }
  at::parallel_for(0, heads, grain(work), [&](int64_t begin, int64_t end) {
    std::vector<float> scratch(static_cast<size_t>(kFewTokens * kDepth));
    std::vector<const float*> bases(static_cast<size_t>(kFewTokens));
    for (int64_t i = 0; i < k; i += kDepth) {
      for (int64_t head = begin; head < end; head++) {
        std::fill(
            bases.begin(),
            bases.end(),
            b.defined() ? b.const_data_ptr<float>() + head * n : zeros.data());
        for (const auto& [out, x] : operands) {
          const int64_t repeats = x.size(2) / heads;
          for (int64_t row = head * repeats; row < (head + 1) * repeats;
               row++) {
            kernels::weighted_rows(
                {out.mutable_data_ptr<float>() + row * out.stride(2),
                 token_stride(out)},
                i == 0 ? bases.data() : nullptr,
                {x.const_data_ptr<float>() + row * x.stride(2) + i,
                 token_stride(x),
                 1},
                {weights + head * w.stride(0) + i * w.stride(1), w.stride(1)},
                x.size(0) * x.size(1),
                std::min(kDepth, k - i),
                n,
                scratch.data());
          }
        }
      }
    }
  });
}

bool has_few_tokens(const at::Tensor& x, const at::Tensor& w) {
  return x.size(0) * x.size(1) <= kFewTokens && w.stride(2) == 1;
}

// If rows are fewer than threads, threads share the tokens of a row.
void multiply(
    const at::Tensor& out,
    const at::Tensor& some_x,
    const at::Tensor& w,
    const at::Tensor& some_b) {
  const at::Tensor x = fits_kernels(some_x) && joins_tokens(some_x)
      ? some_x
      : some_x.contiguous();
  const at::Tensor b = adjacent(some_b);
  if (is_rehearsed(out)) {
    return;
  }
  const int64_t tokens = x.size(0) * x.size(1);
  if (has_few_tokens(x, w)) {
    multiply_few({{out, x}}, w, b);
    return;
  }
  const int64_t rows = x.size(2);
  const int64_t repeats = rows / w.size(0);
  const int64_t k = w.size(1);
  const int64_t n = w.size(2);
  const auto* from = x.const_data_ptr<float>();
  auto* to = out.mutable_data_ptr<float>();
  const auto* weights = w.const_data_ptr<float>();
  const float* bias = b.defined() ? b.const_data_ptr<float>() : nullptr;
  const int64_t parts =
      std::max<int64_t>(at::get_num_threads() / std::max<int64_t>(rows, 1), 1);
  const int64_t work = tokens * k * n / parts;
  at::parallel_for(
      0, rows * parts, grain(work), [&](int64_t begin, int64_t end) {
        const auto scratch = std::make_unique_for_overwrite<float[]>(
            static_cast<size_t>(kernels::packed_product_scratch()));
        for (int64_t i = begin; i < end; i++) {
          const int64_t row = i / parts;
          const int64_t head = row / repeats;
          const int64_t first = i % parts * tokens / parts;
          const int64_t last = (i % parts + 1) * tokens / parts;
          kernels::packed_product(
              {to + row * out.stride(2) + first * token_stride(out),
               token_stride(out)},
              {from + row * x.stride(2) + first * token_stride(x),
               token_stride(x)},
              {weights + head * w.stride(0), w.stride(1), w.stride(2)},
              bias != nullptr ? bias + head * n : nullptr,
              last - first,
              k,
              n,
              scratch.get());
        }
      });
}

at::Tensor kernel_product(
    const at::Tensor& x,
    const at::Tensor& w,
    const at::Tensor& b) {
  const at::Tensor out =
      at::empty({x.size(0), x.size(1), x.size(2), w.size(2)}, x.options());
  multiply(out, x, w, b);
  return out;
}

// Rows of one head lie one after another, so they are more rows of one product.
at::Tensor general_product(
    const at::Tensor& x,
    const at::Tensor& w,
    const at::Tensor& b) {
  const int64_t heads = w.size(0);
  const int64_t repeats = x.size(2) / heads;
  if (is_scaling(x, w) && !b.defined()) {
    return x * w.squeeze(1);
  }
  at::Tensor y = product(
      x.unflatten(2, at::IntArrayRef{heads, repeats})
          .permute({2, 0, 1, 3, 4})
          .reshape({heads, -1, x.size(3)}),
      w);
  if (b.defined()) {
    y.add_(b.unsqueeze(1));
  }
  return y.view({heads, x.size(0), x.size(1), repeats, w.size(2)})
      .permute({1, 2, 0, 3, 4})
      .flatten(2, 3);
}

// As an input of a function a tensor has to be defined.
std::optional<at::Tensor> optional(const at::Tensor& x) {
  return x.defined() ? std::optional<at::Tensor>(x) : std::nullopt;
}

struct HeadProductFunction : torch::autograd::Function<HeadProductFunction> {
  static at::Tensor forward(
      AutogradContext* ctx,
      const at::Tensor& x,
      const at::Tensor& w,
      const std::optional<at::Tensor>& b) {
    ctx->save_for_backward({w});
    return kernel_product(x, w, b.value_or(at::Tensor()));
  }

  static variable_list backward(
      AutogradContext* ctx,
      const variable_list& grads) {
    const at::Tensor w = ctx->get_saved_variables()[0];
    return {head_product(grads[0], w.transpose(1, 2)), {}, {}};
  }
};

} // namespace

at::Tensor head_product(
    const at::Tensor& x,
    const at::Tensor& w,
    const at::Tensor& b) {
  check_shapes(x, w);
  if (!has_kernel(x, w, b)) {
    return general_product(x, w, b);
  }
  return is_recorded(x) ? HeadProductFunction::apply(x, w, optional(b))
                        : kernel_product(x, w, b);
}

std::vector<at::Tensor> head_products(
    const std::vector<at::Tensor>& xs,
    const at::Tensor& w,
    const at::Tensor& b) {
  std::vector<at::Tensor> outs;
  std::vector<Operand> operands;
  for (const at::Tensor& x : xs) {
    check_shapes(x, w);
    if (!has_kernel(x, w, b) || is_recorded(x) || !fits_kernels(x) ||
        !joins_tokens(x) || !has_few_tokens(x, w)) {
      operands.clear();
      break;
    }
    operands.push_back(
        {at::empty({x.size(0), x.size(1), x.size(2), w.size(2)}, x.options()),
         x});
  }
  if (operands.empty()) {
    for (const at::Tensor& x : xs) {
      outs.push_back(head_product(x, w, b));
    }
    return outs;
  }
  multiply_few(operands, w, adjacent(b));
  for (const Operand& o : operands) {
    outs.push_back(o.out);
  }
  return outs;
}

void head_product_out(
    const at::Tensor& out,
    const at::Tensor& x,
    const at::Tensor& w) {
  const at::NoGradGuard no_grad;
  check_shapes(x, w);
  const int64_t shape[] = {x.size(0), x.size(1), x.size(2), w.size(2)};
  TORCH_CHECK(
      out.sizes() == at::IntArrayRef(shape) && joins_tokens(out) &&
          out.scalar_type() == x.scalar_type(),
      "expected a buffer ",
      at::IntArrayRef(shape),
      " of ",
      x.scalar_type(),
      " whose tokens have one stride, got ",
      out.sizes(),
      " of ",
      out.scalar_type());
  if (is_scaling(x, w)) {
    at::Tensor rows = out;
    at::mul_out(rows, x, w.squeeze(1));
  } else if (has_kernel(x, w, {}) && fits_kernels(out)) {
    multiply(out, x, w, {});
  } else {
    const int64_t repeats = x.size(2) / w.size(0);
    for (int64_t row = 0; row < x.size(2); row++) {
      product_out(
          out.select(2, row).flatten(0, 1), // a view
          x.select(2, row).flatten(0, 1),
          w[row / repeats]);
    }
  }
}

} // namespace autocircuit
