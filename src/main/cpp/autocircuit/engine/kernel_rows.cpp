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

at::Tensor floats(const at::Tensor& x) {
  return x.defined() ? x.to(at::kFloat).contiguous() : x;
}

/// Holds what the kernels need of a norm, and the tensors that hold it.
struct KernelNorm {
  explicit KernelNorm(const Norm& norm)
      : weight(floats(norm.dimension_factor())), bias(floats(norm.bias())) {
    parameters.centred = norm.centred();
    parameters.frozen_scale = norm.frozen_scale();
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

// Returns the beginning of token (b, s) of a tensor [batch, seq, ...].
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

/// Says where the base of each row of a token begins.
class BasePointers {
 public:
  BasePointers(const RowBases& bases, int64_t rows, const at::Tensor& delta)
      : bases_(bases),
        is_patched_(
            bases.patched.defined() ? for_tokens(bases.is_patched, delta)
                                    : at::Tensor()),
        rows_(static_cast<size_t>(rows)) {}

  const float* const* at(int64_t b, int64_t s) {
    const at::Tensor& stream = bases_.stream;
    std::fill(
        rows_.begin(),
        rows_.end(),
        token(stream.const_data_ptr<float>(), stream, b, s));
    if (is_patched_.defined()) {
      const at::Tensor& x = bases_.patched;
      const float* patched = token(x.const_data_ptr<float>(), x, b, s);
      for (size_t r = 0; r < rows_.size(); r++) {
        rows_[r] =
            is_patched(b, s, static_cast<int64_t>(r)) ? patched : rows_[r];
      }
    }
    return rows_.data();
  }

  bool is_patched(int64_t b, int64_t s, int64_t row) const {
    return is_patched_.defined() &&
        *(token(is_patched_.const_data_ptr<float>(), is_patched_, b, s) +
          row * is_patched_.stride(2)) != 0;
  }

 private:
  const RowBases& bases_;
  at::Tensor is_patched_; // [batch, seq, rows, 1]
  std::vector<const float*> rows_;
};

/// One token's rows before their norm.
void mix(
    kernels::Rows out,
    const float* const* bases,
    const at::Tensor& weights,
    const at::Tensor& delta,
    int64_t b,
    int64_t s,
    float* scratch) {
  kernels::weighted_rows(
      out,
      bases,
      {token(weights.const_data_ptr<float>(), weights, b, s),
       weights.stride(2),
       weights.stride(3)},
      rows_of(delta, b, s),
      weights.size(2),
      weights.size(3),
      delta.size(3),
      scratch);
}

} // namespace

at::Tensor kernel_masked_rows(
    const RowBases& bases,
    const at::Tensor& shared_weights,
    const at::Tensor& delta,
    const Norm* norm) {
  const at::Tensor weights = for_tokens(shared_weights, delta);
  const int64_t seq = delta.size(1);
  const int64_t rows = weights.size(2);
  const int64_t d = delta.size(3);
  const at::Tensor out =
      at::empty({delta.size(0), seq, rows, d}, delta.options());
  if (is_rehearsed(out)) {
    return out;
  }
  const std::optional<KernelNorm> row_norm = kernel_norm(norm);
  const int64_t work = rows * weights.size(3) * d;
  const int64_t tokens = delta.size(0) * seq;
  at::parallel_for(0, tokens, grain(work), [&](int64_t begin, int64_t end) {
    std::vector<float> scratch(static_cast<size_t>(rows * weights.size(3)));
    BasePointers pointers(bases, rows, delta);
    for (int64_t i = begin; i < end; i++) {
      const int64_t b = i / seq;
      const int64_t s = i % seq;
      const kernels::Rows x = mutable_rows_of(out, b, s);
      mix(x, pointers.at(b, s), weights, delta, b, s, scratch.data());
      if (row_norm) {
        kernels::norm_rows(x, rows, d, row_norm->parameters);
      }
    }
  });
  return out;
}

at::Tensor kernel_sparse_rows(
    const RowBases& bases,
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
  if (is_rehearsed(out)) {
    return out;
  }
  const std::optional<KernelNorm> row_norm = kernel_norm(norm);
  const int64_t work = (rows + static_cast<int64_t>(terms.size())) * d;
  const int64_t tokens = delta.size(0) * seq;
  at::parallel_for(0, tokens, grain(work), [&](int64_t begin, int64_t end) {
    BasePointers pointers(bases, rows, delta);
    for (int64_t i = begin; i < end; i++) {
      const int64_t b = i / seq;
      const int64_t s = i % seq;
      const kernels::Rows x = mutable_rows_of(out, b, s);
      kernels::weighted_terms(
          x,
          pointers.at(b, s),
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
    const at::Tensor& baseline,
    const at::Tensor& changed) {
  const int64_t seq = baseline.size(1);
  const int64_t d = baseline.size(3);
  const auto n_rows = static_cast<int64_t>(rows.size());
  std::vector<std::vector<float>> weights;
  for (const TermRow& row : rows) {
    weights.emplace_back(row.weights.begin(), row.weights.end());
  }
  const at::Tensor out =
      at::empty({baseline.size(0), seq, n_rows, d}, baseline.options());
  if (is_rehearsed(out)) {
    return out;
  }
  const int64_t tokens = baseline.size(0) * seq;
  at::parallel_for(
      0, tokens, grain(n_rows * d), [&](int64_t begin, int64_t end) {
        for (int64_t i = begin; i < end; i++) {
          const int64_t b = i / seq;
          const int64_t s = i % seq;
          const kernels::Rows x = mutable_rows_of(out, b, s);
          for (int64_t r = 0; r < n_rows; r++) {
            const TermRow& row = rows[static_cast<size_t>(r)];
            const kernels::Rows y{x.data + r * x.stride, x.stride};
            const auto n_baseline = static_cast<int64_t>(row.baseline.size());
            const auto n_changed = static_cast<int64_t>(row.changed.size());
            const float* w = weights[static_cast<size_t>(r)].data() +
                (positions > 1 ? s * (n_baseline + n_changed) : 0);
            const std::array<int64_t, 2> of_baseline{0, n_baseline};
            const std::array<int64_t, 2> of_changed{0, n_changed};
            const float* base =
                token(row.base.const_data_ptr<float>(), row.base, b, s);
            kernels::weighted_terms(
                y,
                &base,
                of_baseline.data(),
                row.baseline.data(),
                w,
                rows_of(baseline, b, s),
                1,
                d);
            if (n_changed > 0) {
              base = y.data;
              kernels::weighted_terms(
                  y,
                  &base,
                  of_changed.data(),
                  row.changed.data(),
                  w + n_baseline,
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
    const RowBases& bases,
    const at::Tensor& shared_weights,
    const at::Tensor& delta,
    const Norm* norm,
    WantedGradients wanted,
    const at::Tensor& grad_delta) {
  // With the numbers of a row adjacent.
  const at::Tensor grad = given.stride(-1) == 1 ? given : given.contiguous();
  const TokenGroups groups(shared_weights, delta);
  const int64_t rows = shared_weights.size(2);
  const int64_t n = shared_weights.size(3);
  const int64_t d = delta.size(3);
  const at::Tensor weights = for_tokens(shared_weights, delta);
  const auto zeros = [&](bool any) {
    return at::zeros(
        {any ? grad.size(0) : 0, groups.seq, 1, d}, delta.options());
  };
  const int64_t points = grad.size(0) / groups.batch;
  const at::Tensor grad_stream = zeros(true);
  const at::Tensor grad_patched = zeros(wanted.patched);
  // A part for each group, and where all tokens are one group a part for each
  // thread, added up in a fixed order.
  const bool split = groups.size() == 1;
  const int64_t enough = grain(rows * n * d); // tokens for a thread
  const int64_t parts = split
      ? std::clamp<int64_t>(groups.tokens() / enough, 1, at::get_num_threads())
      : groups.size();
  const at::Tensor products =
      at::zeros({wanted.values ? parts : 0, rows, n}, delta.options());
  const int64_t at_once =
      split ? 1 : grain(rows * n * d * std::max<int64_t>(groups.tokens(), 1));
  const std::optional<KernelNorm> row_norm =
      kernel_norm(is_rehearsed(delta) ? nullptr : norm);
  const int64_t computed = is_rehearsed(delta) ? 0 : parts;
  at::parallel_for(0, computed, at_once, [&](int64_t begin, int64_t end) {
    std::vector<float> scratch(static_cast<size_t>(rows * n));
    std::vector<float> x(static_cast<size_t>(row_norm ? rows * d : 0));
    std::vector<float> sum(static_cast<size_t>(points > 1 ? rows * d : 0));
    BasePointers pointers(bases, rows, delta);
    for (int64_t part = begin; part < end; part++) {
      const int64_t first = split ? part * groups.tokens() / parts : 0;
      const int64_t last =
          split ? (part + 1) * groups.tokens() / parts : groups.tokens();
      for (int64_t i = first; i < last; i++) {
        const auto [b, s] = groups.at(split ? 0 : part, i);
        kernels::ConstRows g{};
        for (int64_t point = 0; point < points; point++) {
          const int64_t example = point * groups.batch + b;
          g = rows_of(grad, example, s);
          if (row_norm) {
            const kernels::Rows again{x.data(), d};
            const float* const* base = pointers.at(example, s);
            if (source == RowSource::kMixed) {
              mix(again, base, weights, delta, b, s, scratch.data());
            } else {
              for (int64_t r = 0; r < rows; r++) {
                std::copy_n(*base, d, again.data + r * d);
              }
            }
            kernels::norm_rows_backward(
                again, g, rows, d, row_norm->parameters);
            g = {again.data, d};
          }
          if (!bases.patched.defined()) {
            kernels::add_rows(
                mutable_rows_of(grad_stream, example, s).data, g, rows, d);
          }
          for (int64_t r = 0; points > 1 && r < rows; r++) {
            float* of_row = sum.data() + r * d;
            if (point == 0) {
              std::fill_n(of_row, d, 0.0F);
            }
            kernels::add_rows(of_row, {g.data + r * g.stride, g.stride}, 1, d);
          }
        }
        if (points > 1) {
          g = {sum.data(), d};
        }
        float* to_stream = mutable_rows_of(grad_stream, b, s).data;
        for (int64_t r = 0; bases.patched.defined() && r < rows; r++) {
          const bool is_patched = pointers.is_patched(b, s, r);
          if (!is_patched || wanted.patched) {
            kernels::add_rows(
                is_patched ? mutable_rows_of(grad_patched, b, s).data
                           : to_stream,
                {g.data + r * g.stride, g.stride},
                1,
                d);
          }
        }
        if (wanted.values) {
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
              {token(weights.const_data_ptr<float>(), weights, b, s),
               weights.stride(3),
               weights.stride(2)},
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
  result.stream = grad_stream.squeeze(2);
  if (wanted.patched) {
    result.patched = grad_patched.squeeze(2);
  }
  if (wanted.values) {
    result.values = split ? products.sum(0) : products;
    result.values = result.values.view(shared_weights.sizes());
  }
  return result;
}

at::Tensor kernel_sum_rows(const at::Tensor& rows, const at::Tensor& patch) {
  const int64_t seq = rows.size(1);
  const int64_t d = rows.size(3);
  const at::Tensor sum = at::empty({rows.size(0), seq, 1, d}, rows.options());
  if (is_rehearsed(sum)) {
    return sum.squeeze(2);
  }
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
        std::fill_n(out, d, 0.0F);
        kernels::add_rows(out, rows_of(rows, b, s), rows.size(2), d);
      }
    }
  });
  return sum.squeeze(2);
}

void kernel_add_rows(const at::Tensor& sum, const at::Tensor& rows) {
  if (is_rehearsed(sum)) {
    return;
  }
  const int64_t seq = rows.size(1);
  const int64_t d = rows.size(3);
  const int64_t n = rows.size(2);
  at::parallel_for(
      0, rows.size(0) * seq, grain(n * d), [&](int64_t begin, int64_t end) {
        for (int64_t i = begin; i < end; i++) {
          const int64_t b = i / seq;
          const int64_t s = i % seq;
          kernels::add_rows(
              token(sum.mutable_data_ptr<float>(), sum, b, s),
              rows_of(rows, b, s),
              n,
              d);
        }
      });
}

} // namespace autocircuit
