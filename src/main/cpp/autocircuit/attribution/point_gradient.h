#pragma once

#include <vector>

#include "autocircuit/attribution/mask_gradient.h"
#include "autocircuit/engine/adding_hooks.h"

namespace autocircuit {

/// The gradient of masks that are 0, at any point that additions to the clean
/// run lead to, for differences that stay what they are. With those of corrupt
/// and clean prompts and nothing added, edge attribution patching; its mean
/// over points between corrupt and clean activations, integrated gradients.
struct PointAttribution {
  ModelInput clean;
  at::Tensor differences; // [n_srcs, batch, seq, d_model], patched minus plain
  AnswerLoss loss = {};
  std::vector<Addition> added = {};
  /// Asks for each prompt's gradient of its own loss, [batch, n_masks], rather
  /// than their mean.
  bool per_prompt = false;
};

MaskGradient point_gradient(
    const PatchableModel& model,
    const PointAttribution& request);

} // namespace autocircuit
