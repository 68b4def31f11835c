#pragma once

#include <torch/csrc/autograd/custom_function.h>

#include <optional>

#include "autocircuit/model/norm.h"

namespace autocircuit {

/// Keeps a norm for the backward of a function, which may come after the model
/// is gone.
void save_norm(torch::autograd::AutogradContext* ctx, const Norm* norm);
std::optional<Norm> saved_norm(torch::autograd::AutogradContext* ctx);

} // namespace autocircuit
