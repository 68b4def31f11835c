#pragma once

#include <ATen/core/Tensor.h>

#include "autocircuit/engine/forward.h"

namespace autocircuit {

/// Leaves out of a checked request, patched with `context`, the positions at
/// the beginning whose tokens are also those of the run that the activations
/// come from. There nothing is patched with anything else, so whatever the
/// masks are, all is as in the plain model: it runs once, and its keys and
/// values become the request's prefix. At least one position stays.
///
/// Returns the logits [batch, positions, d_vocab] that the request wants of
/// positions left out; undefined if it wants none, or if none was left out,
/// since the activations' tokens are not known, masks are for each position, or
/// prompts are padded.
at::Tensor leave_out_shared_positions(
    const PatchableModel& model,
    ForwardRequest& request,
    PatchContext& context);

} // namespace autocircuit
