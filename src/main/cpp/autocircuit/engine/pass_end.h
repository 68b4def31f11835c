#pragma once

#include <ATen/core/Tensor.h>

#include "autocircuit/patch/patchable_model.h"

// Beginnings and ends of passes whose values others use.
namespace autocircuit {

/// The hook point of the residual stream that enters a block.
HookId stream_hook(const PatchableModel& model, int64_t block);

/// Returns whether a pass for these logits computes the last position only from
/// where the queries of the last block have looked back.
bool ends_at_last(const PatchableModel& model, OutputSlice slice);

/// Returns whether what a node puts out lies behind that.
bool is_at_end(const PatchableModel& model, const ModelNode& node);

/// Returns whether a pass that ends there needs the last position's queries
/// only, of modules that give the heads of a block their inputs. One module for
/// q, k and v has to have all positions.
bool has_last_queries(
    const PatchableModel& model,
    c10::ArrayRef<HookId> modules);

/// The last n positions of x [batch, seq, ...].
at::Tensor last_positions(const at::Tensor& x, int64_t n);

} // namespace autocircuit
