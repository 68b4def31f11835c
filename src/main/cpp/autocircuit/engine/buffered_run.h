#pragma once

#include <functional>

#include "autocircuit/engine/compact_sources.h"
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

/// Returns whether `compact_forward` can run with all masks `value`, and
/// gradients of them: where it is not 0, every destination has to read all
/// sources before it and nothing else but a constant.
bool fits_compact(const PatchableModel& model, double value);

/// The same as `buffered_forward` in less memory, but slower: outputs of heads
/// are kept as z in `sources`, and multiplied by their weights at every
/// destination. A context says the one value of its masks as `uniform`; its
/// activations are not read, `sources` has what to subtract from. Without a
/// context, `sources` records what the plain model does.
ForwardResult compact_forward(
    const PatchableModel& model,
    const ForwardRequest& request,
    c10::intrusive_ptr<CompactSources> sources);

} // namespace autocircuit
