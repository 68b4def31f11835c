#pragma once

#include <functional>

#include "autocircuit/engine/forward.h"

namespace autocircuit {

/// The executor for dense masks and for gradients: every source writes its
/// difference once into a SourceBuffer, and every destination is one product
/// with it. Reads no hook points and gives weights no gradients. Expects a
/// checked request.
ForwardResult buffered_forward(
    const PatchableModel& model,
    const ForwardRequest& request);

/// The same, where `run` gives the output of the model with these hooks.
ForwardResult buffered_forward(
    const PatchableModel& model,
    const ForwardRequest& request,
    const std::function<at::Tensor(Hooks&)>& run);

} // namespace autocircuit
