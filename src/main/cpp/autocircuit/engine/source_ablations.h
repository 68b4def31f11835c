#pragma once

#include "autocircuit/engine/forward.h"
#include "autocircuit/engine/fully_patched_run.h"

namespace autocircuit {

/// Ablations of source outputs that one batch determines.
enum class BatchAblation : int64_t {
  kResample = 0, // the outputs as they are
  kZero = 1,
  kBatchTokenwiseMean = 2, // mean over the batch, for each position
  kBatchAllTokMean = 3     // mean over batch and positions
};

/// Source outputs of a clean run on `input`, ablated: [n_srcs, batch, seq,
/// d_model]. Dimensions along which they repeat are expanded, not stored.
/// Padding does not count in means; where there is nothing else they are 0.
/// fully_patched: belongs to them, and learns what they were resampled from;
/// nullptr for none.
at::Tensor source_ablations(
    const PatchableModel& model,
    const ModelInput& input,
    BatchAblation ablation,
    FullyPatchedCache* fully_patched = nullptr);

} // namespace autocircuit
