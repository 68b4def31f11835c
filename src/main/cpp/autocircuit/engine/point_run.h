#pragma once

#include <ATen/core/Tensor.h>

#include <vector>

#include "autocircuit/engine/adding_hooks.h"
#include "autocircuit/patch/patchable_model.h"

namespace autocircuit {

/// A plain pass whose destinations have masks of 0, for the gradient of those
/// masks: that of a mask is what the destination's gradient at this point says
/// of a given difference of the source, wherever the difference comes from.
struct PointRequest {
  /// Of one point, or of several one after another: [points * batch, ...].
  ModelInput input;
  /// Of all sources, patched minus plain: [n_srcs, batch, seq, d_model].
  at::Tensor differences;
  at::Tensor masks; // ([batch]) [n_masks]; their values are not read
  /// The sources whose masks get a gradient. Where none of them is read, the
  /// pass is not recorded.
  int64_t src_start = 0;
  int64_t src_stop = 0;
  std::vector<Addition> added = {};
};

/// The logits; differentiable with respect to the masks. Expects a checked
/// request.
at::Tensor point_forward(
    const PatchableModel& model,
    const PointRequest& request);

} // namespace autocircuit
