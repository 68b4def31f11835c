#pragma once

#include "autocircuit/engine/forward.h"

namespace autocircuit {

/// The executor that is obviously right: at every destination the difference
/// between patched and current source outputs, as the Python original
/// computes it, added to the stream or taken from constant + sum of patches,
/// from plain differentiable operations. Every faster executor is
/// compared with it. It alone reads hook points, and weights can be trained
/// through it. Expects a checked request.
ForwardResult reference_forward(
    const PatchableModel& model,
    const ForwardRequest& request);

} // namespace autocircuit
