#pragma once

#include <ATen/core/grad_mode.h>
#include <c10/util/Exception.h>

#include "autocircuit/memory/workspace_pool.h"

namespace autocircuit {

/// Around the backward of a function, whoever runs it: its memory comes from
/// the pool. Throws where it shall be differentiated itself.
class BackwardScope {
 public:
  BackwardScope() {
    TORCH_CHECK(
        !at::GradMode::is_enabled(),
        "patched forwards support one backward, not the gradient of a "
        "gradient: run it without create_graph");
  }

 private:
  WorkspaceScope workspace_;
};

} // namespace autocircuit
