// Memory that passes use again, and what must never use it again.
#include <torch/csrc/autograd/autograd.h>

#include "allocations.h"
#include "autocircuit/memory/workspace_pool.h"
#include "kinds.h"

#include "check.h"
#include "devices.h"

namespace autocircuit::test {

TEST(workspaces_are_used_again) {
  cpu_only("its memory");
  const at::Tensor big = at::ones({64, 1024});
  const auto pass = [&] {
    const WorkspaceScope workspace;
    CHECK_CLOSE(big + big, at::full({64, 1024}, 2.0), 0, 0);
  };
  pass();
  const WorkspaceStats before = workspace_stats();
  for (int i = 0; i < 10; i++) {
    pass();
  }
  CHECK_EQUAL(workspace_stats().fresh_blocks, before.fresh_blocks);
  CHECK_EQUAL(workspace_stats().leased_bytes, before.leased_bytes);
}

TEST(a_workspace_stays_leased_while_a_tensor_holds_it) {
  cpu_only("its memory");
  at::Tensor held;
  const auto make = [] {
    const WorkspaceScope workspace;
    return at::zeros({64, 1024});
  };
  held = make();
  for (int i = 0; i < 5; i++) {
    make().fill_(7);
  }
  CHECK_CLOSE(held, at::zeros({64, 1024}), 0, 0);
}

TEST(idle_workspaces_stay_within_the_limit) {
  cpu_only("its memory");
  const int64_t before = workspace_limit();
  set_workspace_limit(1 << 20);
  {
    const WorkspaceScope workspace;
    std::vector<at::Tensor> many;
    for (int i = 0; i < 40; i++) {
      many.push_back(at::empty({16, 1024}));
    }
  }
  CHECK(workspace_stats().idle_bytes <= 1 << 20);
  set_workspace_limit(0);
  CHECK_EQUAL(workspace_stats().idle_bytes, int64_t{0});
  set_workspace_limit(before);
}

// Tensors are freed where an exception ends the process.
TEST(workspaces_are_given_back_where_nothing_can_be_allocated) {
  cpu_only("its memory");
  const int64_t before = workspace_limit();
  set_workspace_limit(1 << 20);
  const int64_t leased = workspace_stats().leased_bytes;
  for (int round = 0; round < 2; round++) { // fresh ones, and used ones
    std::vector<at::Tensor> held;
    {
      const WorkspaceScope workspace;
      for (int i = 0; i < 40; i++) {
        held.push_back(at::empty({8 + i % 7, 1024}));
      }
    }
    const NothingLeft none;
    held.clear();
  }
  CHECK_EQUAL(workspace_stats().leased_bytes, leased);
  CHECK(workspace_stats().idle_bytes <= 1 << 20);
  set_workspace_limit(before);
}

// A second pass while the backward of the first is still to come.
TEST(a_pending_backward_is_not_disturbed_by_later_passes) {
  Kind kind({});
  kind.context.masks.requires_grad_(true);
  const auto pass = [&] {
    const WorkspaceScope workspace;
    return logits(kind.model, kind.clean, &kind.context).square().sum();
  };
  const at::Tensor expected =
      torch::autograd::grad({pass()}, {kind.context.masks})[0];
  const at::Tensor pending = pass();
  for (int i = 0; i < 3; i++) {
    torch::autograd::grad({pass()}, {kind.context.masks});
  }
  CHECK_CLOSE(
      torch::autograd::grad({pending}, {kind.context.masks})[0],
      expected,
      0,
      0);
}

} // namespace autocircuit::test
