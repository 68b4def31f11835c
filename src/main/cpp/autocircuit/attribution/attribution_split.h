#pragma once

#include <cstdint>

#include "autocircuit/attribution/edge_attribution.h"

namespace autocircuit {

/// Bytes that tensors take at most while so many prompts are attributed: beyond
/// the model and what the request holds.
int64_t attribution_bytes(
    const PatchableModel& model,
    const EdgeAttribution& request,
    AttributionSplit split);

/// The fastest split within so many bytes; throws if there is none. Not during
/// a rehearsal, which this is made by.
AttributionSplit split_within(
    const PatchableModel& model,
    const EdgeAttribution& request,
    int64_t bytes);

} // namespace autocircuit
