#include "autocircuit/engine/kernel_rows.h"

#include <ATen/Parallel.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/zeros.h>

#include <algorithm>
#include <array>
#include <optional>
#include <vector>

#include "autocircuit/kernels/norm_kernels.h"
#include "autocircuit/kernels/row_kernels.h"
#include "autocircuit/kernels/tensors.h"

namespace autocircuit {

namespace {

/// What the kernels need of a norm, and the tensors that hold it.
struct KernelNorm {
  explicit KernelNorm(const Norm& norm)
      : weight(adjacent(norm.dimension_factor())), bias(adjacent(norm.bias())) {
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
      {token(values.const_data_ptr<float>(), values, b, s),
       values.stride(2),
       values.stride(3)},
      rows_of(delta, b, s),
      values.size(2),
      values.size(3),
      delta.size(3),
      scratch);
}

} // namespace

at::Tensor kernel_masked_rows(
    const at::Tensor& base,
    const at::Tensor& shared_values,
    const at::Tensor& delta,
    const Norm* norm) {
  const at::Tensor values = for_tokens(shared_values, delta);
  const int64_t seq = delta.size(1);
  const int64_t rows = values.size(2);
  const int64_t d = delta.size(3);
  const at::Tensor out =
      at::empty({delta.size(0), seq, rows, d}, delta.options());
  const std::optional<KernelNorm> row_norm = kernel_norm(norm);
  const int64_t work = rows * values.size(3) * d;
  const int64_t tokens = delta.size(0) * seq;
  at::parallel_for(0, tokens, grain(work), [&](int64_t begin, int64_t end) {
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

at::Tensor kernel_sparse_rows(
    const at::Tensor& base,
    const std::vector<int64_t>& starts,
    const std::vector<int64_t>& terms,
    const at::Tensor& shared_weights,
    const at::Tensor& delta,
    const Norm* norm) {
  const int64_t seq = delta.size(1);
  const auto rows = static_cast<int64_t>(starts.size()) - 1;
  const int64_t d = delta.size(3);
  const at::Tensor weights =
      shared_weights.expand({delta.size(0), seq, shared_weights.size(2)});
  const at::Tensor out =
      at::empty({delta.size(0), seq, rows, d}, delta.options());
  const std::optional<KernelNorm> row_norm = kernel_norm(norm);
  const int64_t work = (rows + static_cast<int64_t>(terms.size())) * d;
  const int64_t tokens = delta.size(0) * seq;
  at::parallel_for(0, tokens, grain(work), [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; i++) {
      const int64_t b = i / seq;
      const int64_t s = i % seq;
      const kernels::Rows x = mutable_rows_of(out, b, s);
      kernels::weighted_terms(
          x,
          token(base.const_data_ptr<float>(), base, b, s),
          starts.data(),
          terms.data(),
          terms.empty() ? nullptr
                        : token(weights.const_data_ptr<float>(), weights, b, s),
          rows_of(delta, b, s),
          rows,
          d);
      if (row_norm) {
        kernels::norm_rows(x, rows, d, row_norm->parameters);
      }
    }
  });
  return out;
}

at::Tensor kernel_term_rows(
    const std::vector<TermRow>& rows,
    int64_t positions,
    const at::Tensor& known,
    const at::Tensor& changed) {
  const int64_t seq = known.size(1);
  const int64_t d = known.size(3);
  const auto n_rows = static_cast<int64_t>(rows.size());
  std::vector<std::vector<float>> weights;
  for (const TermRow& row : rows) {
    weights.emplace_back(row.weights.begin(), row.weights.end());
  }
  const at::Tensor out =
      at::empty({known.size(0), seq, n_rows, d}, known.options());
  const int64_t tokens = known.size(0) * seq;
  at::parallel_for(
      0, tokens, grain(n_rows * d), [&](int64_t begin, int64_t end) {
        for (int64_t i = begin; i < end; i++) {
          const int64_t b = i / seq;
          const int64_t s = i % seq;
          const kernels::Rows x = mutable_rows_of(out, b, s);
          for (int64_t r = 0; r < n_rows; r++) {
            const TermRow& row = rows[static_cast<size_t>(r)];
            const kernels::Rows y{x.data + r * x.stride, x.stride};
            const auto n_known = static_cast<int64_t>(row.known.size());
            const auto n_changed = static_cast<int64_t>(row.changed.size());
            const float* w = weights[static_cast<size_t>(r)].data() +
                (positions > 1 ? s * (n_known + n_changed) : 0);
            const std::array<int64_t, 2> of_known{0, n_known};
            const std::array<int64_t, 2> of_changed{0, n_changed};
            kernels::weighted_terms(
                y,
                token(row.base.const_data_ptr<float>(), row.base, b, s),
                of_known.data(),
                row.known.data(),
                w,
                rows_of(known, b, s),
                1,
                d);
            if (n_changed > 0) {
              kernels::weighted_terms(
                  y,
                  y.data,
                  of_changed.data(),
                  row.changed.data(),
                  w + n_known,
                  rows_of(changed, b, s),
                  1,
                  d);
            }
          }
        }
      });
  return out;
}

MaskedRowsGradient kernel_rows_backward(
    RowSource source,
    const at::Tensor& given,
    const at::Tensor& base,
    const at::Tensor& shared_values,
    const at::Tensor& delta,
    const Norm* norm,
    bool want_values,
    const at::Tensor& grad_delta) {
  // With the numbers of a row adjacent.
  const at::Tensor grad = given.stride(-1) == 1 ? given : given.contiguous();
  const TokenGroups groups(shared_values, delta);
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
  const int64_t enough = grain(rows * n * d); // tokens for a thread
  const int64_t parts = split
      ? std::clamp<int64_t>(groups.tokens() / enough, 1, at::get_num_threads())
      : groups.size();
  const at::Tensor products =
      at::zeros({want_values ? parts : 0, rows, n}, delta.options());
  const int64_t at_once =
      split ? 1 : grain(rows * n * d * std::max<int64_t>(groups.tokens(), 1));
  at::parallel_for(0, parts, at_once, [&](int64_t begin, int64_t end) {
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
          if (source == RowSource::kMixed) {
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
              {token(values.const_data_ptr<float>(), values, b, s),
               values.stride(3),
               values.stride(2)},
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

at::Tensor kernel_sum_rows(const at::Tensor& rows, const at::Tensor& patch) {
  const int64_t seq = rows.size(1);
  const int64_t d = rows.size(3);
  const at::Tensor sum = at::empty({rows.size(0), seq, 1, d}, rows.options());
  const int64_t tokens = rows.size(0) * seq;
  const int64_t work = rows.size(2) * d;
  at::parallel_for(0, tokens, grain(work), [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; i++) {
      const int64_t b = i / seq;
      const int64_t s = i % seq;
      float* out = mutable_rows_of(sum, b, s).data;
      if (patch.defined()) {
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
