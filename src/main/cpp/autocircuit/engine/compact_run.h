#pragma once

#include <memory>

#include "autocircuit/engine/compact_sources.h"
#include "autocircuit/patch/patchable_model.h"

// Passes that keep outputs of heads as z. Slower than others, since they are
// multiplied by the output weights at every destination, and for masks that are
// all one value.
namespace autocircuit {

/// Returns whether such a pass can run with all masks `value`, and gradients of
/// them: where it is not 0, every destination has to read all sources before it
/// and nothing else but a constant.
bool fits_compact_run(const PatchableModel& model, double value);

/// The outputs of all sources.
CompactSources compact_outputs(
    const PatchableModel& model,
    const ModelInput& input);

/// Logits of a pass whose masks [n_masks] are all `value`; they receive
/// gradients. `patch` minus the pass' own outputs is what sources differ by.
at::Tensor compact_forward(
    const PatchableModel& model,
    const ModelInput& input,
    const at::Tensor& masks,
    double value,
    c10::intrusive_ptr<CompactSources> patch);

} // namespace autocircuit
