#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <optional>

namespace autocircuit {

/// Says how a mask parameter becomes the weight of the patched activation.
enum class MaskFn : int64_t { kNone = 0, kSigmoid = 1, kHardConcrete = 2 };

/// Says where randomness comes from: the same (seed, step) gives the same noise
/// on every device, and nothing else is consulted or changed.
struct Noise {
  int64_t seed = 0;
  int64_t step = 0;
  /// Undefined, or the uniform draws of the hard-concrete samples themselves,
  /// shaped like the masks with a leading batch dimension.
  at::Tensor uniforms;
};

struct MaskTransform {
  MaskFn fn = MaskFn::kNone;
  /// Probability of dropping a value; 0 switches dropout off.
  double dropout = 0;
  Noise noise;
};

/// The weights of patched activations: f(mask), then dropout. `batched` tells
/// whether the first dimension of `masks` is the batch. Hard concrete draws a
/// sample for each example, so its result always has a batch dimension.
/// Differentiable in `masks`.
at::Tensor mask_values(
    const at::Tensor& masks,
    bool batched,
    int64_t batch,
    const MaskTransform& transform);

/// The one value of all masks, which are on the CPU, if they have one.
std::optional<double> one_value(const at::Tensor& masks);

} // namespace autocircuit
