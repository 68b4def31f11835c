#include "autocircuit/engine/masked_rows.h"

#include <ATen/Parallel.h>
#include <ATen/core/grad_mode.h>
#include <ATen/ops/cat.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/matmul.h>
#include <ATen/ops/sub.h>
#include <ATen/ops/zeros.h>
#include <torch/csrc/autograd/autograd.h>

#include <algorithm>
#include <optional>
#include <vector>

#include "autocircuit/engine/row_kernels.h"
#include "autocircuit/model/precision.h"

namespace autocircuit {

namespace {

// Whether the kernels can run: fp32 on the CPU, numbers of a row adjacent.
bool fits_kernels(const at::Tensor& x) {
  return x.is_cpu() && x.scalar_type() == at::kFloat && x.stride(-1) == 1;
}

/// What the kernels need of a norm, and the tensors that hold it.
struct KernelNorm {
  explicit KernelNorm(const Norm& norm)
      : weight(norm.dimension_factor()), bias(norm.bias()) {
    parameters.centred = norm.centred();
    parameters.eps = static_cast<float>(norm.eps());
    parameters.weight =
        weight.defined() ? weight.const_data_ptr<float>() : nullptr;
    parameters.bias = bias.defined() ? bias.const_data_ptr<float>() : nullptr;
  }

  at::Tensor weight;
  at::Tensor bias;
  kernels::NormParameters parameters;
};

std::optional<KernelNorm> kernel_norm(const Norm* norm) {
  return norm == nullptr ? std::nullopt
                         : std::optional<KernelNorm>(std::in_place, *norm);
}

// Where token (b, s) of a tensor [batch, seq, ...] begins.
template <typename T>
T* token(T* data, const at::Tensor& x, int64_t b, int64_t s) {
  return data + b * x.stride(0) + s * x.stride(1);
}

kernels::ConstRows rows_of(const at::Tensor& x, int64_t b, int64_t s) {
  return {token(x.const_data_ptr<float>(), x, b, s), x.stride(2)};
}

kernels::Rows mutable_rows_of(const at::Tensor& x, int64_t b, int64_t s) {
  return {token(x.mutable_data_ptr<float>(), x, b, s), x.stride(2)};
}

// Values [batch or 1, seq or 1, rows, n] for each token, a view.
at::Tensor for_tokens(const at::Tensor& values, const at::Tensor& delta) {
  return values.expand(
      {delta.size(0), delta.size(1), values.size(2), values.size(3)});
}

// The same tensor with the numbers of a row adjacent.
at::Tensor adjacent(const at::Tensor& x) {
  return x.stride(-1) == 1 ? x : x.contiguous();
}

/// One token's rows before their norm.
void mix(
    kernels::Rows out,
    const at::Tensor& base,
    const at::Tensor& values,
    const at::Tensor& delta,
    int64_t b,
    int64_t s,
    float* scratch) {
  kernels::weighted_rows(
      out,
      token(base.const_data_ptr<float>(), base, b, s),
      token(values.const_data_ptr<float>(), values, b, s),
      values.stride(2),
      values.stride(3),
      rows_of(delta, b, s),
      values.size(2),
      values.size(3),
      delta.size(3),
      scratch);
}

at::Tensor kernel_masked_rows(
    const at::Tensor& base,
    const at::Tensor& values,
    const at::Tensor& delta,
    const Norm* norm) {
  const int64_t seq = delta.size(1);
  const int64_t rows = values.size(2);
  const int64_t d = delta.size(3);
  const at::Tensor out =
      at::empty({delta.size(0), seq, rows, d}, delta.options());
  const std::optional<KernelNorm> row_norm = kernel_norm(norm);
  at::parallel_for(0, delta.size(0) * seq, 1, [&](int64_t begin, int64_t end) {
    std::vector<float> scratch(static_cast<size_t>(rows * values.size(3)));
    for (int64_t i = begin; i < end; i++) {
      const kernels::Rows x = mutable_rows_of(out, i / seq, i % seq);
      mix(x, base, values, delta, i / seq, i % seq, scratch.data());
      if (row_norm) {
        kernels::norm_rows(x, rows, d, row_norm->parameters);
      }
    }
  });
  return out;
}

/// Tokens that share their mask values: all of them, or those of one example,
/// of one position, or a single one.
struct Groups {
  Groups(const at::Tensor& values, const at::Tensor& delta)
      : batch(delta.size(0)),
        seq(delta.size(1)),
        by_example(values.size(0) > 1),
        by_position(values.size(1) > 1) {}

  int64_t size() const {
    return (by_example ? batch : 1) * (by_position ? seq : 1);
  }
  int64_t tokens() const {
    return batch * seq / size();
  }
  /// Example and position of a group's i-th token.
  std::pair<int64_t, int64_t> at(int64_t group, int64_t i) const {
    if (by_example) {
      return by_position ? std::pair{group / seq, group % seq}
                         : std::pair{group, i};
    }
    return by_position ? std::pair{i, group} : std::pair{i / seq, i % seq};
  }

  int64_t batch;
  int64_t seq;
  bool by_example;
  bool by_position;
};

// How the backward gets a token's rows: mixed anew, or all equal to `x`.
enum class RowSource { kMixed, kEqual };

template <RowSource source>
MaskedRowsGradient kernel_backward(
    const at::Tensor& grad,
    const at::Tensor& base,
    const at::Tensor& shared_values,
    const at::Tensor& delta,
    const Norm* norm,
    bool want_values,
    const at::Tensor& grad_delta) {
  const Groups groups(shared_values, delta);
  const int64_t rows = shared_values.size(2);
  const int64_t n = shared_values.size(3);
  const int64_t d = delta.size(3);
  const at::Tensor values = for_tokens(shared_values, delta);
  const std::optional<KernelNorm> row_norm = kernel_norm(norm);
  const at::Tensor grad_base =
      at::empty({groups.batch, groups.seq, 1, d}, delta.options());
  // A part for each group, and where all tokens are one group a part for each
  // thread, added up in a fixed order.
  const bool split = groups.size() == 1;
  const int64_t parts = split
      ? std::min<int64_t>(at::get_num_threads(), groups.tokens())
      : groups.size();
  const at::Tensor products =
      at::zeros({want_values ? parts : 0, rows, n}, delta.options());
  at::parallel_for(0, parts, 1, [&](int64_t begin, int64_t end) {
    std::vector<float> scratch(static_cast<size_t>(rows * n));
    std::vector<float> x(static_cast<size_t>(row_norm ? rows * d : 0));
    for (int64_t part = begin; part < end; part++) {
      const int64_t first = split ? part * groups.tokens() / parts : 0;
      const int64_t last =
          split ? (part + 1) * groups.tokens() / parts : groups.tokens();
      for (int64_t i = first; i < last; i++) {
        const auto [b, s] = groups.at(split ? 0 : part, i);
        kernels::ConstRows g = rows_of(grad, b, s);
        if (row_norm) {
          const kernels::Rows again{x.data(), d};
          if constexpr (source == RowSource::kMixed) {
            mix(again, base, values, delta, b, s, scratch.data());
          } else {
            const float* row = token(base.const_data_ptr<float>(), base, b, s);
            for (int64_t r = 0; r < rows; r++) {
              std::copy_n(row, d, again.data + r * d);
            }
          }
          kernels::norm_rows_backward(again, g, rows, d, row_norm->parameters);
          g = {again.data, d};
        }
        kernels::sum_rows(mutable_rows_of(grad_base, b, s).data, g, rows, d);
        if (want_values) {
          kernels::add_row_products(
              products.mutable_data_ptr<float>() + part * rows * n,
              g,
              rows,
              rows_of(delta, b, s),
              n,
              d);
        }
        if (grad_delta.defined()) {
          kernels::weighted_rows(
              mutable_rows_of(grad_delta, b, s),
              nullptr,
              token(values.const_data_ptr<float>(), values, b, s),
              values.stride(3),
              values.stride(2),
              g,
              n,
              rows,
              d,
              scratch.data());
        }
      }
    }
  });
  MaskedRowsGradient result;
  result.base = grad_base.squeeze(2);
  if (want_values) {
    result.values = split ? products.sum(0) : products;
    result.values = result.values.view(shared_values.sizes());
  }
  return result;
}

// The same from LibTorch's operations, for other types and devices. 16-bit
// operands are widened, and what is stored as 16 bits is rounded once, when its
// sum is complete.
at::Tensor wide(const at::Tensor& x) {
  return x.to(accumulation_type(x.scalar_type()));
}

at::Tensor plain_mix(
    const at::Tensor& base,
    const at::Tensor& values,
    const at::Tensor& delta) {
  return (wide(base).unsqueeze(2) + at::matmul(values, wide(delta)))
      .to(delta.scalar_type());
}

MaskedRowsGradient plain_backward(
    const at::Tensor& grad,
    const at::Tensor& rows,
    const at::Tensor& values,
    const at::Tensor& delta,
    const Norm* norm,
    bool want_values,
    const at::Tensor& grad_delta) {
  at::Tensor g = grad;
  if (norm != nullptr) {
    const at::AutoGradMode record(true);
    const at::Tensor x = rows.detach().requires_grad_(true);
    g = torch::autograd::grad({(*norm)(x)}, {x}, {grad})[0];
  }
  g = wide(g);
  MaskedRowsGradient result;
  result.base = g.sum(2).to(delta.scalar_type());
  if (want_values) {
    const Groups groups(values, delta);
    result.values = at::matmul(g, wide(delta).transpose(2, 3));
    if (!groups.by_example) {
      result.values = result.values.sum(0, /*keepdim=*/true);
    }
    if (!groups.by_position) {
      result.values = result.values.sum(1, /*keepdim=*/true);
    }
  }
  if (grad_delta.defined()) {
    at::Tensor(grad_delta).add_(at::matmul(values.transpose(2, 3), g));
  }
  return result;
}

// One example after another, so that wide copies of 16-bit operands stay small.
template <typename Body>
void for_each_example(const at::Tensor& delta, const Body& body) {
  const bool narrow =
      accumulation_type(delta.scalar_type()) != delta.scalar_type();
  const int64_t size = narrow ? 1 : delta.size(0);
  for (int64_t b = 0; b < delta.size(0); b += size) {
    body([b, size](const at::Tensor& x) {
      return x.defined() && x.size(0) > 1 ? x.narrow(0, b, size) : x;
    });
  }
}

at::Tensor plain_rows(
    const at::Tensor& base,
    const at::Tensor& values,
    const at::Tensor& delta,
    const Norm* norm) {
  std::vector<at::Tensor> parts;
  for_each_example(delta, [&](const auto& part) {
    const at::Tensor x = plain_mix(part(base), part(values), part(delta));
    parts.push_back(norm == nullptr ? x : (*norm)(x));
  });
  return parts.size() == 1 ? parts[0] : at::cat(parts);
}

MaskedRowsGradient plain_rows_backward(
    RowSource source,
    const at::Tensor& grad,
    const at::Tensor& base,
    const at::Tensor& values,
    const at::Tensor& delta,
    const Norm* norm,
    bool want_values,
    const at::Tensor& grad_delta) {
  std::vector<at::Tensor> bases;
  std::vector<at::Tensor> products;
  for_each_example(delta, [&](const auto& part) {
    const at::Tensor rows = source == RowSource::kMixed
        ? plain_mix(part(base), part(values), part(delta))
        : part(base).unsqueeze(2).expand_as(part(grad));
    const MaskedRowsGradient result = plain_backward(
        part(grad),
        rows,
        part(values),
        part(delta),
        norm,
        want_values,
        part(grad_delta));
    bases.push_back(result.base);
    products.push_back(result.values);
  });
  MaskedRowsGradient result;
  result.base = at::cat(bases);
  if (want_values) {
    result.values = at::cat(products);
    if (values.size(0) == 1) {
      result.values = result.values.sum(0, /*keepdim=*/true);
    }
  }
  return result;
}

void check_types(
    const at::Tensor& base,
    const at::Tensor& values,
    const at::Tensor& delta) {
  const at::ScalarType type = delta.scalar_type();
  TORCH_CHECK(
      base.scalar_type() == type &&
          values.scalar_type() == accumulation_type(type),
      "expected an input of ",
      type,
      " and mask values of ",
      accumulation_type(type),
      " for source activations of ",
      type,
      ", got ",
      base.scalar_type(),
      " and ",
      values.scalar_type());
}

} // namespace

at::Tensor masked_rows(
    const at::Tensor& base,
    const at::Tensor& values,
    const at::Tensor& delta,
    const Norm* norm) {
  check_types(base, values, delta);
  return fits_kernels(delta) && fits_kernels(base)
      ? kernel_masked_rows(base, for_tokens(values, delta), delta, norm)
      : plain_rows(base, values, delta, norm);
}

MaskedRowsGradient masked_rows_backward(
    const at::Tensor& grad,
    const at::Tensor& base,
    const at::Tensor& values,
    const at::Tensor& delta,
    const Norm* norm,
    bool want_values,
    const at::Tensor& grad_delta) {
  if (fits_kernels(delta) && fits_kernels(base)) {
    return kernel_backward<RowSource::kMixed>(
        adjacent(grad), base, values, delta, norm, want_values, grad_delta);
  }
  return plain_rows_backward(
      RowSource::kMixed,
      grad,
      base,
      values,
      delta,
      norm,
      want_values,
      grad_delta);
}

MaskedRowsGradient equal_rows_backward(
    const at::Tensor& grad,
    const at::Tensor& x,
    const at::Tensor& values,
    const at::Tensor& delta,
    const Norm* norm) {
  if (fits_kernels(delta) && fits_kernels(x)) {
    return kernel_backward<RowSource::kEqual>(
        adjacent(grad), x, values, delta, norm, /*want_values=*/true, {});
  }
  return plain_rows_backward(
      RowSource::kEqual,
      grad,
      x,
      values,
      delta,
      norm,
      /*want_values=*/true,
      {});
}

at::Tensor sum_rows(const at::Tensor& rows, const at::Tensor& patch) {
  const bool subtract = patch.defined();
  if (!fits_kernels(rows) || (subtract && !fits_kernels(patch))) {
    const at::Tensor sum =
        rows.sum(2, /*keepdim=*/false, accumulation_type(rows.scalar_type()));
    if (subtract) {
      at::Tensor out = rows;
      at::sub_out(out, patch, rows);
    }
    return sum;
  }
  const int64_t seq = rows.size(1);
  const int64_t d = rows.size(3);
  const at::Tensor sum = at::empty({rows.size(0), seq, 1, d}, rows.options());
  at::parallel_for(0, rows.size(0) * seq, 1, [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; i++) {
      const int64_t b = i / seq;
      const int64_t s = i % seq;
      float* out = mutable_rows_of(sum, b, s).data;
      if (subtract) {
        kernels::sum_and_subtract_rows(
            out,
            mutable_rows_of(rows, b, s),
            rows_of(patch, b, s),
            rows.size(2),
            d);
      } else {
        kernels::sum_rows(out, rows_of(rows, b, s), rows.size(2), d);
      }
    }
  });
  return sum.squeeze(2);
}

} // namespace autocircuit
