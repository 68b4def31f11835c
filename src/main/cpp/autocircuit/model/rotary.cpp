#include "autocircuit/model/rotary.h"

#include <ATen/ops/cat.h>
#include <ATen/ops/cos.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/sin.h>
#include <ATen/ops/stack.h>
#include <ATen/ops/tensor.h>

#include <algorithm>
#include <cmath>
#include <numbers>
#include <vector>

#include "autocircuit/model/precision.h"

namespace autocircuit {

namespace {

// Llama 3.1: long wavelengths are stretched by `factor`, short ones stay, and
// those between the two bounds are blended.
double llama3_frequency(double frequency, const Description& description) {
  const double factor = description.number("rotary_factor");
  const double low = description.number("rotary_low_freq_factor");
  const double high = description.number("rotary_high_freq_factor");
  const double context = description.number("rotary_original_n_ctx");
  const double turns = context * frequency / (2 * std::numbers::pi);
  const double blend = std::clamp((turns - low) / (high - low), 0.0, 1.0);
  return frequency * (blend + (1 - blend) / factor);
}

double scaled_frequency(double frequency, const Description& description) {
  const std::string scaling = description.text("rotary_scaling", "none");
  if (scaling == "none") {
    return frequency;
  }
  if (scaling == "linear") {
    return frequency / description.number("rotary_factor");
  }
  TORCH_CHECK(
      scaling == "llama3",
      "expected rotary_scaling none, linear or llama3, got '",
      scaling,
      "'");
  return llama3_frequency(frequency, description);
}

} // namespace

Rotary::Rotary(
    const Description& description,
    int64_t d_head,
    at::Device device)
    : dim_(description.size("rotary_dim")),
      adjacent_(description.text("rotary_pairs") == "adjacent") {
  TORCH_CHECK(
      dim_ <= d_head && dim_ % 2 == 0,
      "expected an even rotary_dim of at most ",
      d_head,
      ", got ",
      dim_);
  const double base = description.number("rotary_base");
  std::vector<double> frequencies;
  for (int64_t i = 0; i < dim_; i += 2) {
    frequencies.push_back(scaled_frequency(
        std::pow(base, -static_cast<double>(i) / static_cast<double>(dim_)),
        description));
  }
  frequencies_ = at::tensor(frequencies, at::kDouble).to(device);
}

Rotation Rotary::rotation(
    const at::Tensor& positions,
    const at::TensorOptions& options) const {
  const at::ScalarType type =
      accumulation_type(c10::typeMetaToScalarType(options.dtype()));
  const at::Tensor angles = (positions.unsqueeze(-1) * frequencies_)
                                .unsqueeze(-2); // ([batch]) [seq, 1, dim / 2]
  return {at::cos(angles).to(type), at::sin(angles).to(type), adjacent_};
}

Rotation Rotary::rotation_of_each(
    const at::Tensor& positions,
    const at::TensorOptions& options) const {
  const at::ScalarType type =
      accumulation_type(c10::typeMetaToScalarType(options.dtype()));
  const int64_t n = positions.size(0);
  const std::vector<int64_t> shape{n, 1, dim_ / 2};
  const at::Tensor cos = at::empty(shape, options.dtype(type));
  const at::Tensor sin = at::empty(shape, options.dtype(type));
  for (int64_t i = 0; i < n; i++) {
    const at::Tensor angles = positions[i] * frequencies_;
    cos[i][0].copy_(at::cos(angles));
    sin[i][0].copy_(at::sin(angles));
  }
  return {cos, sin, adjacent_};
}

at::Tensor Rotation::operator()(const at::Tensor& x) const {
  const int64_t half = cos_.size(-1);
  const int64_t dim = 2 * half;
  const at::Tensor turned = x.narrow(-1, 0, dim).to(cos_.scalar_type());
  const at::Tensor a =
      adjacent_ ? turned.slice(-1, 0, dim, 2) : turned.narrow(-1, 0, half);
  const at::Tensor b =
      adjacent_ ? turned.slice(-1, 1, dim, 2) : turned.narrow(-1, half, half);
  const at::Tensor first = a * cos_ - b * sin_;
  const at::Tensor second = b * cos_ + a * sin_;
  at::Tensor result = (adjacent_ ? at::stack({first, second}, -1).flatten(-2)
                                 : at::cat({first, second}, -1))
                          .to(x.scalar_type());
  if (dim == x.size(-1)) {
    return result;
  }
  return at::cat({result, x.narrow(-1, dim, x.size(-1) - dim)}, -1);
}

Rotation Rotation::narrow(int64_t start, int64_t n) const {
  return {cos_.narrow(-3, start, n), sin_.narrow(-3, start, n), adjacent_};
}

} // namespace autocircuit
