#pragma once

#include <torch/csrc/autograd/custom_function.h>

#include <optional>

#include "autocircuit/model/norm.h"

// What autograd functions that compute rows anew in their backward have in
// common.
namespace autocircuit {

/// Keeps a norm for the backward, which may come after the model is gone.
void save_norm(torch::autograd::AutogradContext* ctx, const Norm* norm);
std::optional<Norm> saved_norm(torch::autograd::AutogradContext* ctx);

/// Throws in a backward that shall be differentiated itself.
void refuse_double_backward();

} // namespace autocircuit
