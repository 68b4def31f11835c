#pragma once

#include "autocircuit/patch/patchable_model.h"

namespace autocircuit {

/// Sources, each by itself patched into the queries or the keys of all heads of
/// a block.
struct PatternEffects {
  /// The prompts' context, and the residual stream that enters the block, which
  /// `start_block` says.
  ModelInput stream;
  at::Tensor differences; // of some sources [n, batch, seq, d_model]
  bool of_keys = false;   // or of queries
  int64_t position = -1;  // the only one that is patched; -1: all are
  /// The clean pattern and a loss's gradient in it [batch, heads, seq, keys].
  at::Tensor pattern;
  at::Tensor gradient;
};

/// The effect on the loss of the pattern's change, to first order in it:
/// the change of each query's row times the gradient, fp64 [n, batch, heads,
/// seq].
at::Tensor pattern_effects(
    const PatchableModel& model,
    const PatternEffects& request);

} // namespace autocircuit
