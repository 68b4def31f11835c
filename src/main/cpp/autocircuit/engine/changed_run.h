#pragma once

#include "autocircuit/engine/incremental_run.h"

namespace autocircuit {

/// What a pass that goes on from a known run needs of it.
struct KnownRun {
  const RecordedValues& values; // Recorded::kAll
  const at::Tensor& patch;      // [batch, seq, n_srcs, d_model]
  const at::Tensor& delta;      // patch minus outputs, the same
};

/// The hook point of the residual stream that enters a block.
HookId stream_hook(const PatchableModel& model, int64_t block);

/// Whether a pass for these logits computes the last position only from where
/// the queries of the last block have looked back.
bool ends_at_last(const PatchableModel& model, OutputSlice slice);

/// Whether what a node puts out lies behind that.
bool is_at_end(const PatchableModel& model, const ModelNode& node);

/// The last n positions of x [batch, seq, ...].
at::Tensor last_positions(const at::Tensor& x, int64_t n);

/// Logits of a pass that computes `values.changes`, and leaves in `values` what
/// it found; masks as there.
at::Tensor changed_forward(
    const PatchableModel& model,
    ModelInput input,
    const KnownRun& known,
    const MaskFlips& masks,
    ChangedValues& values);

} // namespace autocircuit
