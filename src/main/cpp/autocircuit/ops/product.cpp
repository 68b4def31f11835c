#include "autocircuit/ops/product.h"

#include <ATen/Parallel.h>
#include <ATen/core/LegacyTypeDispatch.h>
#include <ATen/ops/addmm.h>
#include <ATen/ops/bmm.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/mm.h>
#include <torch/csrc/autograd/custom_function.h>

#include <algorithm>
#include <memory>
#include <optional>
#include <vector>

#include "autocircuit/kernels/product_kernels.h"
#include "autocircuit/kernels/tensors.h"
#include "autocircuit/ops/few_rows.h"

namespace autocircuit {

using torch::autograd::AutogradContext;
using torch::autograd::variable_list;

namespace {

// Multiplications that are worth a thread.
constexpr int64_t kGrain = int64_t{1} << 20U;
// Rows and columns are divided in multiples of this.
constexpr int64_t kTileSize = 32;

// Instructions that LibTorch's own products of 16-bit types need. For fp16 that
// is more than most have, and a compiler may not know its name.
bool has_instructions(at::ScalarType type) {
#if defined(__x86_64__)
  static const bool bf16 = __builtin_cpu_supports("avx512bw") != 0 &&
      __builtin_cpu_supports("avx512vl") != 0 &&
      __builtin_cpu_supports("avx512dq") != 0;
  return type == at::kBFloat16 && bf16;
#else
  (void)type;
  return true;
#endif
}

bool is_slow(const at::Tensor& x) {
  const at::ScalarType type = x.scalar_type();
  return is_on_cpu(x) && (type == at::kBFloat16 || type == at::kHalf) &&
      !has_instructions(type);
}

// In rehearsals: what LibTorch's library for 16-bit products, oneDNN, takes
// while one of them runs. It packs 64 columns of b twice, 32 rows at a time,
// and keeps as many of up to 256 rows of the result in 32 bits, twice: measured
// on 15 shapes, exact for most. Batches whose rows or columns do not lie one
// after another are copied first.
std::vector<at::Tensor> rehearsed_scratch(
    const at::Tensor& a,
    const at::Tensor& b) {
  if (!is_rehearsed(a) || a.element_size() != 2 || !is_on_cpu(a) ||
      is_slow(a)) {
    return {};
  }
  const int64_t packed = (a.size(-1) + 31) / 32 * 32 * 64 * 2 * 2;
  const int64_t sums = std::min<int64_t>(a.size(-2), 256) * 64 * 4 * 2;
  std::vector<at::Tensor> scratch{
      at::empty({packed + sums + 1664}, a.options().dtype(at::kByte))};
  for (const at::Tensor& x : {a, b}) {
    if (x.dim() == 3 && !x.is_contiguous() &&
        !x.transpose(1, 2).is_contiguous()) {
      scratch.push_back(x.contiguous());
    }
  }
  return scratch;
}

/// A dimension of a product [(batch,) m, n] and the pieces that threads share.
struct Division {
  Division(const at::Tensor& a, const at::Tensor& b) {
    const int64_t m = a.size(-2);
    const int64_t n = b.size(-1);
    // Matrices of a batch are the largest pieces.
    if (a.dim() == 3 && a.size(0) > 1) {
      tiles = a.size(0);
    } else {
      dim = n < m ? a.dim() - 2 : a.dim() - 1;
      tiles = std::max(m, n) / kTileSize;
      tile = kTileSize;
    }
    if (a.is_cpu() && !at::in_parallel_region()) {
      parts = std::clamp<int64_t>(
          a.numel() * n / kGrain,
          1,
          std::min<int64_t>(
              at::get_num_threads(), std::max<int64_t>(tiles, 1)));
    }
  }

  int64_t start(int64_t part) const {
    return part * tiles / parts * tile;
  }
  /// The part of a tensor that has the dimension at its full size.
  at::Tensor of(const at::Tensor& x, int64_t at, int64_t part) const {
    const int64_t first = start(part);
    return x.narrow(
        at, first, (part + 1 < parts ? start(part + 1) : x.size(at)) - first);
  }

  int64_t dim = 0;
  int64_t tiles = 0;
  int64_t tile = 1;
  int64_t parts = 1;
};

void check_factors(
    const at::Tensor& a,
    const at::Tensor& b,
    const at::Tensor& bias) {
  TORCH_CHECK(
      a.dim() == b.dim() && a.dim() >= 2 && a.size(-1) == b.size(-2) &&
          a.sizes().slice(0, static_cast<size_t>(a.dim() - 2)) ==
              b.sizes().slice(0, static_cast<size_t>(b.dim() - 2)),
      "expected [..., m, k] times [..., k, n], got ",
      a.sizes(),
      " and ",
      b.sizes());
  TORCH_CHECK(
      !bias.defined() ||
          (a.dim() == 2 && bias.dim() == 1 && bias.numel() == b.size(1)),
      "expected ",
      b.size(-1),
      " numbers to add, got ",
      bias.defined() ? bias.sizes() : at::IntArrayRef());
}

at::Tensor with_one_batch_dim(const at::Tensor& x) {
  return x.dim() > 3 ? x.flatten(0, x.dim() - 3) : x;
}

bool suits_kernel(
    const at::Tensor& a,
    const at::Tensor& b,
    const at::Tensor& bias) {
  return a.dim() == 2 && a.size(1) > 0 && fits_kernels(a) && b.is_cpu() &&
      b.scalar_type() == at::kFloat && (b.stride(0) == 1 || b.stride(1) == 1) &&
      (!bias.defined() || fits_kernels(bias));
}

void multiply_by_kernel(
    const at::Tensor& out,
    const at::Tensor& a,
    const at::Tensor& b,
    const at::Tensor& bias) {
  const auto scratch = std::make_unique_for_overwrite<float[]>(
      static_cast<size_t>(kernels::packed_product_scratch()));
  kernels::packed_product(
      {out.mutable_data_ptr<float>(), out.stride(0)},
      {a.const_data_ptr<float>(), a.stride(0)},
      {b.const_data_ptr<float>(), b.stride(0), b.stride(1)},
      bias.defined() ? bias.const_data_ptr<float>() : nullptr,
      a.size(0),
      a.size(1),
      b.size(1),
      scratch.get());
}

// [m, k] times [k, n] plus a bias, or a batch of products.
void multiply_into(
    at::Tensor out,
    const at::Tensor& a,
    const at::Tensor& b,
    const at::Tensor& bias) {
  if (suits_kernel(a, b, bias)) {
    multiply_by_kernel(out, a, b, bias);
  } else if (bias.defined()) {
    at::addmm_out(out, bias, a, b);
  } else if (a.dim() == 2) {
    at::mm_out(out, a, b);
  } else {
    at::bmm_out(out, a, b);
  }
}

// OpenBLAS has threads of its own. They and LibTorch's would wait for each
// other, busily, so it computes on the thread that calls it (bridge/threads),
// and products are divided among LibTorch's here.
void divided_product(
    const at::Tensor& out,
    const at::Tensor& any_a,
    const at::Tensor& any_b,
    const at::Tensor& bias) {
  check_factors(any_a, any_b, bias);
  // Copies are made here: this thread's memory is the pool's.
  const at::Tensor a = with_one_batch_dim(any_a);
  const at::Tensor b = with_one_batch_dim(any_b);
  const at::Tensor matrices = with_one_batch_dim(out); // a view
  const Division division(a, b);
  const std::vector<at::Tensor> scratch = rehearsed_scratch(a, b);
  if (division.parts == 1) {
    multiply_into(matrices, a, b, bias);
    return;
  }
  const int64_t rows = a.dim() - 2;
  const int64_t columns = a.dim() - 1;
  at::parallel_for(0, division.parts, 1, [&](int64_t begin, int64_t end) {
    // Threads do not share the modes of their caller.
    const at::AutoDispatchBelowADInplaceOrView plain;
    for (int64_t part = begin; part < end; part++) {
      const int64_t dim = division.dim;
      multiply_into(
          division.of(matrices, dim, part),
          dim == columns ? a : division.of(a, dim, part),
          dim == rows ? b : division.of(b, dim, part),
          bias.defined() && dim == columns ? division.of(bias, 0, part) : bias);
    }
  });
}

at::Tensor divided_product(
    const at::Tensor& a,
    const at::Tensor& b,
    const at::Tensor& bias) {
  std::vector<int64_t> shape = a.sizes().vec();
  shape.back() = b.size(-1);
  const at::Tensor out = at::empty(shape, a.options());
  divided_product(out, a, b, bias);
  return out;
}

at::Tensor any_product(
    const at::Tensor& a,
    const at::Tensor& b,
    const at::Tensor& bias) {
  if (!is_slow(a)) {
    return divided_product(a, b, bias);
  }
  const at::Tensor y =
      divided_product(a.to(at::kFloat), b.to(at::kFloat), /*bias=*/{})
          .to(a.scalar_type());
  return bias.defined() ? y + bias : y;
}

/// Of operands with as many dimensions, of which none is repeated.
struct ProductFunction : torch::autograd::Function<ProductFunction> {
  static at::Tensor forward(
      AutogradContext* ctx,
      const at::Tensor& a,
      const at::Tensor& b,
      const std::optional<at::Tensor>& bias) {
    // Of weights that are not trained, the other factor is not needed.
    ctx->save_for_backward(
        {b.requires_grad() ? a : at::Tensor(),
         a.requires_grad() ? b : at::Tensor()});
    ctx->saved_data["has_bias"] = bias.has_value();
    return any_product(a, b, bias.value_or(at::Tensor()));
  }

  static variable_list backward(
      AutogradContext* ctx,
      const variable_list& grads) {
    const variable_list saved = ctx->get_saved_variables();
    return {
        ctx->needs_input_grad(0) ? product(grads[0], saved[1].transpose(-2, -1))
                                 : at::Tensor(),
        ctx->needs_input_grad(1) ? product(saved[0].transpose(-2, -1), grads[0])
                                 : at::Tensor(),
        ctx->saved_data["has_bias"].toBool() && ctx->needs_input_grad(2)
            ? grads[0].sum(0)
            : at::Tensor()};
  }
};

at::Tensor recorded_product(
    const at::Tensor& a,
    const at::Tensor& b,
    const at::Tensor& bias) {
  if (is_recorded(a) || is_recorded(b) || is_recorded(bias)) {
    return ProductFunction::apply(
        a, b, bias.defined() ? std::optional<at::Tensor>(bias) : std::nullopt);
  }
  return any_product(a, b, bias);
}

} // namespace

at::Tensor product(const at::Tensor& a, const at::Tensor& b) {
  return recorded_product(a, b, /*bias=*/{});
}

void product_out(
    const at::Tensor& out,
    const at::Tensor& a,
    const at::Tensor& b) {
  if (is_slow(a)) {
    out.copy_(any_product(a, b, /*bias=*/{}));
  } else {
    divided_product(out, a, b, /*bias=*/{});
  }
}

at::Tensor affine(
    const at::Tensor& x,
    const at::Tensor& w,
    const at::Tensor& b) {
  return has_few_rows(x, w, b) ? few_rows_product(x, w, b)
                               : recorded_product(x, w, b);
}

} // namespace autocircuit
