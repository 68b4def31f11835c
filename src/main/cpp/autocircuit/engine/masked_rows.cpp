#include "autocircuit/engine/masked_rows.h"

#include <ATen/core/grad_mode.h>
#include <ATen/ops/cat.h>
#include <ATen/ops/matmul.h>
#include <ATen/ops/sub.h>
#include <torch/csrc/autograd/autograd.h>

#include <vector>

#include "autocircuit/engine/kernel_rows.h"
#include "autocircuit/model/precision.h"

namespace autocircuit {

namespace {

// From LibTorch's operations, for other types and devices than the kernels'.
// 16-bit operands are widened, and what is stored as 16 bits is rounded once,
// when its sum is complete.
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
    const TokenGroups groups(values, delta);
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

MaskedRowsGradient rows_backward(
    RowSource source,
    const at::Tensor& grad,
    const at::Tensor& base,
    const at::Tensor& values,
    const at::Tensor& delta,
    const Norm* norm,
    bool want_values,
    const at::Tensor& grad_delta) {
  const bool kernels = fits_kernels(delta) && fits_kernels(base);
  return (kernels ? kernel_rows_backward : plain_rows_backward)(
      source, grad, base, values, delta, norm, want_values, grad_delta);
}

} // namespace

at::Tensor masked_rows(
    const at::Tensor& base,
    const at::Tensor& values,
    const at::Tensor& delta,
    const Norm* norm) {
  check_types(base, values, delta);
  const bool kernels = fits_kernels(delta) && fits_kernels(base);
  return (kernels ? kernel_masked_rows : plain_rows)(base, values, delta, norm);
}

MaskedRowsGradient masked_rows_backward(
    const at::Tensor& grad,
    const at::Tensor& base,
    const at::Tensor& values,
    const at::Tensor& delta,
    const Norm* norm,
    bool want_values,
    const at::Tensor& grad_delta) {
  return rows_backward(
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
  return rows_backward(
      RowSource::kEqual,
      grad,
      x,
      values,
      delta,
      norm,
      /*want_values=*/true,
      /*grad_delta=*/{});
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
