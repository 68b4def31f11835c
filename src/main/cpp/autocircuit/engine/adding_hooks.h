#pragma once

#include <ATen/core/Tensor.h>

#include <string>
#include <vector>

#include "autocircuit/model/model.h"

namespace autocircuit {

/// A pass adds this to the residual-wide value at a hook point, behind all that
/// reads, records or patches it there: no source's output has it, and patching
/// does not take it away.
struct Addition {
  std::string hook;
  at::Tensor value; // what broadcasts to [batch, seq, d_model]
};

/// Throws unless additions fit a pass of the model: type, device and shape, and
/// hook points that exist.
void check_additions(
    const Model& model,
    const std::vector<Addition>& additions,
    int64_t batch,
    int64_t seq);

/// The model's output with other hooks and these additions. Throws if the pass
/// does not come to one of the hook points, or has no residual-wide value
/// there.
at::Tensor forward_adding(
    const Model& model,
    const ModelInput& input,
    Hooks& hooks,
    const std::vector<Addition>& additions);

} // namespace autocircuit
