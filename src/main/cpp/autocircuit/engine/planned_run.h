#pragma once

#include <optional>

#include "autocircuit/engine/forward.h"

namespace autocircuit {

/// The executor for passes without gradients whose masks are known on the host:
/// runs what a plan needs. Returns nothing for models or requests that plans
/// are not made for. Expects a checked request.
std::optional<ForwardResult> planned_forward(
    const PatchableModel& model,
    const ForwardRequest& request);

} // namespace autocircuit
