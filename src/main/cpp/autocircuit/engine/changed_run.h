#pragma once

#include "autocircuit/engine/incremental_run.h"

namespace autocircuit {

/// The values of a baseline that other passes need.
struct BaselineView {
  const RecordedValues& values; // Recorded::kAll
  const at::Tensor& patch;      // [batch, seq, n_srcs, d_model]
  const at::Tensor& delta;      // patch minus outputs, the same
  /// By hook point of a destination: its fully patched input [batch, seq,
  /// d_model].
  const std::vector<at::Tensor>& fully_patched;
};

/// Logits of a pass that computes `values.changes`, and leaves in `values` what
/// it found; masks as there.
at::Tensor changed_forward(
    const PatchableModel& model,
    ModelInput input,
    const BaselineView& baseline,
    const MaskFlips& masks,
    ChangedValues& values);

} // namespace autocircuit
