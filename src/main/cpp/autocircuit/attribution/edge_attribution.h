#pragma once

#include "autocircuit/attribution/mask_gradient.h"

namespace autocircuit {

/// The gradient of a loss with respect to masks that are all one value, within
/// a limit of memory.
struct EdgeAttribution {
  ModelInput clean;
  /// Prompts whose source outputs edges are patched with; if the value is
  /// undefined, `patch_src_outs` [n_srcs, batch, seq, d_model] are.
  ModelInput corrupt = {};
  at::Tensor patch_src_outs = {};
  double mask_value = 0;
  AnswerLoss loss = {};
  /// Asks for each prompt's gradient of its own loss, [batch, n_masks], rather
  /// than their mean.
  bool per_prompt = false;
  /// Asks for the differences of source outputs, too, of all prompts at once.
  bool want_differences = false;
};

/// Says how the work is divided.
struct AttributionSplit {
  int64_t prompts; // at once
  bool compact; // whether outputs of heads are kept as z; see compact_sources.h
};

/// The same of some of its prompts.
EdgeAttribution some_prompts(
    const EdgeAttribution& request,
    int64_t first,
    int64_t n);

/// As `mask_gradient`, whose result is the same up to rounding.
MaskGradient edge_attribution(
    const PatchableModel& model,
    const EdgeAttribution& request,
    AttributionSplit split);

} // namespace autocircuit
