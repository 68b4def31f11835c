#include "autocircuit/engine/masked_rows.h"

#include <ATen/core/grad_mode.h>
#include <ATen/ops/cat.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/sub.h>
#include <ATen/ops/zeros.h>
#include <torch/csrc/autograd/autograd.h>

#include <algorithm>
#include <vector>

#include "autocircuit/engine/kernel_rows.h"
#include "autocircuit/model/precision.h"
#include "autocircuit/ops/product.h"

namespace autocircuit {

namespace {

// As many numbers of a wide copy stay in the cache, about.
constexpr int64_t kWideNumbers = int64_t{1} << 22U;

// From LibTorch's operations, for other types and devices than the kernels'.
// 16-bit operands are widened, and what is stored as 16 bits is rounded once,
// when its sum is complete.
at::Tensor wide(const at::Tensor& x) {
  return x.to(accumulation_type(x.scalar_type()));
}

at::Tensor plain_mix(
    const RowBases& bases,
    const at::Tensor& weights,
    const at::Tensor& delta) {
  const at::Tensor added = product(for_tokens(weights, delta), wide(delta));
  at::Tensor base = wide(bases.stream).unsqueeze(2);
  if (bases.patched.defined()) {
    // 0 or 1 of each: exact, and without waiting for a device.
    base = base * (1 - bases.is_patched) +
        wide(bases.patched).unsqueeze(2) * bases.is_patched;
  }
  return (base + added).to(delta.scalar_type());
}

MaskedRowsGradient plain_backward(
    const at::Tensor& grad,
    const at::Tensor& rows,
    const RowBases& bases,
    const at::Tensor& values,
    const at::Tensor& delta,
    const Norm* norm,
    WantedGradients wanted,
    const at::Tensor& grad_delta) {
  at::Tensor g = grad;
  if (norm != nullptr) {
    const at::AutoGradMode record(true);
    const at::Tensor x = rows.detach().requires_grad_(true);
    g = torch::autograd::grad({(*norm)(x)}, {x}, {grad})[0];
  }
  g = wide(g);
  MaskedRowsGradient result;
  const at::Tensor to_stream =
      bases.patched.defined() ? g * (1 - bases.is_patched) : g;
  result.stream = to_stream.sum(2).to(delta.scalar_type());
  if (wanted.patched) {
    result.patched = (g * bases.is_patched).sum(2);
  }
  if (wanted.values) {
    const TokenGroups groups(values, delta);
    result.values = product(g, wide(delta).transpose(2, 3));
    if (!groups.by_example) {
      result.values = result.values.sum(0, /*keepdim=*/true);
    }
    if (!groups.by_position) {
      result.values = result.values.sum(1, /*keepdim=*/true);
    }
  }
  if (grad_delta.defined()) {
    at::Tensor(grad_delta)
        .add_(product(for_tokens(values, delta).transpose(2, 3), g));
  }
  return result;
}

// Part after part of the tokens, so that wide copies of 16-bit operands stay
// small. `body` gets what takes its part of a tensor [batch or 1, seq or 1,
// ...].
template <typename Body>
void for_each_part(const at::Tensor& delta, const Body& body) {
  const int64_t batch = delta.size(0);
  const int64_t seq = delta.size(1);
  const bool narrow =
      accumulation_type(delta.scalar_type()) != delta.scalar_type();
  const int64_t of_token = std::max<int64_t>(delta.size(2) * delta.size(3), 1);
  const int64_t examples = narrow ? 1 : batch;
  const int64_t positions =
      narrow ? std::clamp<int64_t>(kWideNumbers / of_token, 1, seq) : seq;
  for (int64_t b = 0; b < batch; b += examples) {
    for (int64_t s = 0; s < seq; s += positions) {
      const int64_t n = std::min(positions, seq - s);
      body([=](const at::Tensor& x) {
        const at::Tensor some =
            x.size(0) == batch ? x.narrow(0, b, examples) : x;
        return some.size(1) == seq ? some.narrow(1, s, n) : some;
      });
    }
  }
}

template <typename Part>
RowBases part_of(const RowBases& bases, const Part& part) {
  const auto some = [&](const at::Tensor& x) {
    return x.defined() ? part(x) : x;
  };
  return {
      .stream = some(bases.stream),
      .patched = some(bases.patched),
      .is_patched = some(bases.is_patched)};
}

// Point after point, of equal rows.
MaskedRowsGradient plain_backward_of_points(
    const at::Tensor& grad,
    const at::Tensor& x,
    const at::Tensor& values,
    const at::Tensor& delta,
    const Norm* norm) {
  const int64_t batch = delta.size(0);
  MaskedRowsGradient sum;
  std::vector<at::Tensor> streams;
  for (int64_t first = 0; first < grad.size(0); first += batch) {
    const MaskedRowsGradient of_point = equal_rows_backward(
        grad.narrow(0, first, batch),
        x.narrow(0, first, batch),
        values,
        delta,
        norm);
    streams.push_back(of_point.stream);
    sum.values =
        sum.values.defined() ? sum.values + of_point.values : of_point.values;
  }
  sum.stream = at::cat(streams);
  return sum;
}

at::Tensor plain_rows(
    const RowBases& bases,
    const at::Tensor& weights,
    const at::Tensor& delta,
    const Norm* norm) {
  at::Tensor out = at::empty(
      {delta.size(0), delta.size(1), weights.size(2), delta.size(3)},
      delta.options());
  for_each_part(delta, [&](const auto& part) {
    const at::Tensor x =
        plain_mix(part_of(bases, part), part(weights), part(delta));
    part(out).copy_(norm == nullptr ? x : (*norm)(x));
  });
  return out;
}

MaskedRowsGradient plain_rows_backward(
    RowSource source,
    const at::Tensor& grad,
    const RowBases& bases,
    const at::Tensor& weights,
    const at::Tensor& delta,
    const Norm* norm,
    WantedGradients wanted,
    const at::Tensor& grad_delta) {
  MaskedRowsGradient result;
  result.stream = at::empty(bases.stream.sizes(), delta.options());
  if (wanted.values) {
    result.values = at::zeros(weights.sizes(), weights.options());
  }
  if (wanted.patched) {
    result.patched = at::empty(bases.stream.sizes(), weights.options());
  }
  if (grad.size(0) != delta.size(0)) {
    return plain_backward_of_points(grad, bases.stream, weights, delta, norm);
  }
  for_each_part(delta, [&](const auto& part) {
    const RowBases some = part_of(bases, part);
    const at::Tensor rows = source == RowSource::kMixed
        ? plain_mix(some, part(weights), part(delta))
        : some.stream.unsqueeze(2).expand_as(part(grad));
    const MaskedRowsGradient of_part = plain_backward(
        part(grad),
        rows,
        some,
        part(weights),
        part(delta),
        norm,
        wanted,
        grad_delta.defined() ? part(grad_delta) : grad_delta);
    part(result.stream).copy_(of_part.stream);
    if (wanted.values) {
      part(result.values).add_(of_part.values);
    }
    if (wanted.patched) {
      part(result.patched).copy_(of_part.patched);
    }
  });
  return result;
}

void check_types(
    const RowBases& bases,
    const at::Tensor& weights,
    const at::Tensor& delta) {
  const at::ScalarType type = delta.scalar_type();
  const at::ScalarType sums = accumulation_type(type);
  const auto fits = [&](const at::Tensor& x) {
    return !x.defined() || x.scalar_type() == type || x.scalar_type() == sums;
  };
  TORCH_CHECK(
      fits(bases.stream) && fits(bases.patched) &&
          weights.scalar_type() == sums,
      "expected inputs of ",
      type,
      " or ",
      sums,
      " and mask values of ",
      sums,
      " for source activations of ",
      type,
      ", got ",
      bases.stream.scalar_type(),
      " and ",
      weights.scalar_type());
}

bool fit_kernels(const RowBases& bases, const at::Tensor& delta) {
  return fits_kernels(delta) && fits_kernels(bases.stream) &&
      (!bases.patched.defined() || fits_kernels(bases.patched));
}

MaskedRowsGradient rows_backward(
    RowSource source,
    const at::Tensor& grad,
    const RowBases& bases,
    const at::Tensor& weights,
    const at::Tensor& delta,
    const Norm* norm,
    WantedGradients wanted,
    const at::Tensor& grad_delta) {
  return (
      fit_kernels(bases, delta) ? kernel_rows_backward : plain_rows_backward)(
      source, grad, bases, weights, delta, norm, wanted, grad_delta);
}

} // namespace

at::Tensor masked_rows(
    const RowBases& bases,
    const at::Tensor& weights,
    const at::Tensor& delta,
    const Norm* norm) {
  check_types(bases, weights, delta);
  return (fit_kernels(bases, delta) ? kernel_masked_rows : plain_rows)(
      bases, weights, delta, norm);
}

MaskedRowsGradient masked_rows_backward(
    const at::Tensor& grad,
    const RowBases& bases,
    const at::Tensor& weights,
    const at::Tensor& delta,
    const Norm* norm,
    WantedGradients wanted,
    const at::Tensor& grad_delta) {
  return rows_backward(
      RowSource::kMixed, grad, bases, weights, delta, norm, wanted, grad_delta);
}

MaskedRowsGradient equal_rows_backward(
    const at::Tensor& grad,
    const at::Tensor& x,
    const at::Tensor& values,
    const at::Tensor& delta,
    const Norm* norm) {
  return rows_backward(
      RowSource::kEqual,
      grad,
      {.stream = x},
      values,
      delta,
      norm,
      /*wanted=*/{},
      /*grad_delta=*/{});
}

at::Tensor add_rows(const at::Tensor& sum, const at::Tensor& rows) {
  const bool recorded = is_recorded(rows) || is_recorded(sum);
  const at::Tensor some = recorded || fits_kernels(rows) ? rows : wide(rows);
  int64_t first = 0;
  at::Tensor out = sum;
  if (!sum.defined()) {
    out = wide(some.select(2, first++));
  }
  const int64_t n = some.size(2) - first;
  if (recorded) {
    for (int64_t i = first; i < some.size(2); i++) {
      out = out + some.select(2, i);
    }
    return out;
  }
  out = out.clone(at::MemoryFormat::Contiguous);
  if (is_on_cpu(some) && out.scalar_type() == at::kFloat) {
    kernel_add_rows(
        out,
        (fits_kernels(some) ? some : some.contiguous()).narrow(2, first, n));
    return out;
  }
  for (int64_t i = first; i < some.size(2); i++) {
    out.add_(some.select(2, i));
  }
  return out;
}

at::Tensor sum_rows(const at::Tensor& rows, const at::Tensor& patch) {
  if (fits_kernels(rows) && (!patch.defined() || fits_kernels(patch))) {
    return kernel_sum_rows(rows, patch);
  }
  const at::Tensor sum =
      rows.sum(2, /*keepdim=*/false, accumulation_type(rows.scalar_type()));
  if (patch.defined()) {
    at::Tensor out = rows;
    at::sub_out(out, patch, rows);
  }
  return sum;
}

} // namespace autocircuit
