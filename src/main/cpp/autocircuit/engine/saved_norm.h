#pragma once

#include <torch/csrc/autograd/custom_function.h>

#include <optional>

#include "autocircuit/engine/workspace_pool.h"
#include "autocircuit/model/norm.h"

// What autograd functions that compute rows anew in their backward have in
// common.
namespace autocircuit {

/// Keeps a norm for the backward, which may come after the model is gone.
void save_norm(torch::autograd::AutogradContext* ctx, const Norm* norm);
std::optional<Norm> saved_norm(torch::autograd::AutogradContext* ctx);

/// Around a backward, whoever runs it: its memory comes from the pool. Throws
/// where it shall be differentiated itself.
class BackwardScope {
 public:
  BackwardScope();

 private:
  WorkspaceScope workspace_;
};

} // namespace autocircuit
