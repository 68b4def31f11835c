#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <vector>

#include "autocircuit/patch/patchable_model.h"

namespace autocircuit {

/// The constant that a destination reads, if there is one, plus a sum.
at::Tensor plus_constant(
    const PatchableModel& model,
    const PatchWrapper& dest,
    const at::Tensor& sum);

/// Says what destinations read whose edges are all patched: constant + sum of
/// the patches, added in the order of the sources in the type in which the
/// model accumulates. It depends on nothing else, so it carries no rounding of
/// current activations. One for each pass.
class FullyPatched {
 public:
  /// patch_src_outs: [n_srcs, batch, seq, d_model], of any strides.
  FullyPatched(const PatchableModel& model, const at::Tensor& patch_src_outs);

  /// Returns what `dest` reads at so many positions at the end: [batch,
  /// positions, d_model]; undefined where it reads more than its sources.
  /// Destinations come in the order of the pass. Differentiable in the patches.
  at::Tensor input(const PatchWrapper& dest, int64_t positions);

 private:
  const PatchableModel& model_;
  at::Tensor patch_; // [batch or 1, seq or 1, n_srcs, d_model]
  int64_t batch_;
  int64_t seq_;
  int64_t start_ = -1; // sources from here on are in the sum
  int64_t stop_ = -1;  // up to here
  at::Tensor sum_;     // [batch or 1, seq or 1, d_model]
};

/// Returns what every destination of a model with plans reads if all is
/// patched, by hook point: [batch, seq, d_model]; undefined for other hook
/// points.
std::vector<at::Tensor> fully_patched_inputs(
    const PatchableModel& model,
    const at::Tensor& patch_src_outs);

} // namespace autocircuit
