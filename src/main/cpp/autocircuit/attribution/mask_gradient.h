#pragma once

#include "autocircuit/attribution/answer_loss.h"
#include "autocircuit/engine/forward.h"

namespace autocircuit {

struct AnswerLoss {
  GradFunction grad_function = GradFunction::kLogit;
  AnswerFunction answer_function = AnswerFunction::kAvgDiff;
  at::Tensor answers;
  at::Tensor wrong_answers;
};

struct MaskGradient {
  at::Tensor grad;   // shape and type of the masks
  at::Tensor loss;   // no dimensions, type of the masks
  at::Tensor logits; // ([points,] batch, d_vocab)
  /// Patched minus current outputs of all sources [n_srcs, batch, seq,
  /// d_model], if wanted.
  at::Tensor differences = {};
};

/// Gradient of a loss on the last position's logits with respect to the
/// masks: one patched forward and one backward. At masks 0 this is edge
/// attribution patching (Syed et al. 2023, "Attribution patching outperforms
/// automated circuit discovery").
MaskGradient mask_gradient(
    const PatchableModel& model,
    const ModelInput& input,
    const PatchContext& context,
    const AnswerLoss& loss,
    PlanPolicy policy = PlanPolicy::kAuto);

/// The same from the logits ([points,] batch, d_vocab) of a patched forward
/// with gradients of `masks`; the mean over points.
MaskGradient mask_gradient_of(
    const at::Tensor& logits,
    const at::Tensor& masks,
    const AnswerLoss& loss);

} // namespace autocircuit
