#pragma once

#include <memory>

#include "autocircuit/patch/patchable_model.h"

// Models and inputs without numbers, for rehearsals.
namespace autocircuit {

/// A tensor of the same shape and type; undefined stays undefined.
at::Tensor on_meta(const at::Tensor& x);

ModelInput on_meta(const ModelInput& input);

/// The same model with the same wrappers, with weights of a type.
std::shared_ptr<const PatchableModel> on_meta(
    const PatchableModel& model,
    at::ScalarType type);

/// Returns whether rehearsals of a model are those of passes on the CPU: for
/// models without numbers, too.
bool stands_for_cpu(const PatchableModel& model);

} // namespace autocircuit
