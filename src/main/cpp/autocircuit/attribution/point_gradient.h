#pragma once

#include <vector>

#include "autocircuit/attribution/mask_gradient.h"
#include "autocircuit/engine/adding_hooks.h"

namespace autocircuit {

/// The gradient of masks that are 0, at any points that additions to the clean
/// run lead to, for differences that stay what they are. With those of corrupt
/// and clean prompts and nothing added, edge attribution patching; its mean
/// over points between corrupt and clean activations, integrated gradients.
struct PointAttribution {
  ModelInput clean;       // or the residual stream from some block on
  at::Tensor differences; // [n_srcs, batch, seq, d_model], patched minus plain
  AnswerLoss loss = {};
  /// Values of several points, which run at once, have a dimension of points in
  /// front: [points, batch or 1, seq or 1, d_model]. The gradient and the loss
  /// are means over them, and logits are [points, batch, d_vocab].
  std::vector<Addition> added = {};
  /// The sources whose edges are scored; the gradient of others is 0. Stop at
  /// -1: all.
  int64_t src_start = 0;
  int64_t src_stop = -1;
  /// Asks for each prompt's gradient of its own loss, [batch, n_masks], rather
  /// than their mean.
  bool per_prompt = false;
};

MaskGradient point_gradient(
    const PatchableModel& model,
    const PointAttribution& request);

} // namespace autocircuit
