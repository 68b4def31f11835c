// Gradients of masks under training, of edges and of nodes.
#include "autocircuit/attribution/mask_training.h"

#include <ATen/core/grad_mode.h>
#include <ATen/ops/rand.h>
#include <ATen/ops/randn_like.h>

#include "autocircuit/engine/forward.h"
#include "kinds.h"

#include "check.h"

namespace autocircuit::test {

namespace {

at::Tensor some_masks(const Kind& k, int64_t n) {
  return at::rand({n}, k.context.masks.options());
}

TrainingStep some_step(const Kind& k, MaskFn fn) {
  TrainingStep step;
  step.input.value = k.clean;
  step.input.slice = OutputSlice::kLastSeq;
  step.context.patch_src_outs = k.context.patch_src_outs;
  step.context.transform = {
      .fn = fn, .noise = {.seed = 3, .step = 1, .uniforms = {}}};
  step.target = FaithfulnessTarget::kMse;
  {
    const at::NoGradGuard no_grad;
    ForwardRequest plain;
    plain.input = step.input;
    step.full_model = forward(k.model, plain).logits;
  }
  step.count = {.seed = 3, .step = 2, .uniforms = {}};
  step.edge_weight = 0.01;
  step.edge_sparsity = {.linear = 2, .quadratic = -3, .target = 0.4};
  step.node_sparsity = {.linear = -1, .quadratic = 5, .target = 0.7};
  return step;
}

} // namespace

TEST(gradients_of_edges_and_nodes_are_finite_differences) {
  for_each_kind([](const Shape& s) {
    for (const MaskFn fn :
         {MaskFn::kNone, MaskFn::kSigmoid, MaskFn::kHardConcrete}) {
      for (const bool positions : {false, true}) {
        const Kind k(s, positions ? Kind(s).clean.size(1) : 0);
        const TrainingStep step = some_step(k, fn);
        const at::Tensor edges = some_masks(k, k.model.n_masks());
        const at::Tensor nodes = some_masks(k, k.model.n_srcs());
        const at::Tensor of_edges = at::randn_like(edges);
        const at::Tensor of_nodes = at::randn_like(nodes);
        std::vector<at::Tensor> gradients;
        const auto total = [&](double h) {
          MaskTraining training(edges + of_edges * h, nodes + of_nodes * h, 1);
          return training.losses(k.model, step, gradients).total;
        };
        const double h = 1e-5;
        const double slope = (total(h) - total(-h)) / (2 * h);
        total(0);
        const double expected = (gradients[0] * of_edges).sum().item<double>() +
            (gradients[1] * of_nodes).sum().item<double>();
        CHECK_CLOSE(
            at::scalar_tensor(slope, at::kDouble),
            at::scalar_tensor(expected, at::kDouble),
            1e-5,
            1e-6);
      }
    }
  });
}

/// A node's mask is that of all its edges.
TEST(edges_are_in_the_circuit_as_far_as_both_they_and_their_nodes_are) {
  for_each_kind([](const Shape& s) {
    const Kind k(s);
    const TrainingStep step = some_step(k, MaskFn::kNone);
    const at::Tensor edges = some_masks(k, k.model.n_masks());
    const at::Tensor nodes = some_masks(k, k.model.n_srcs());
    at::Tensor both = edges.clone();
    for (const PatchWrapper& w : k.model.wrappers()) {
      if (w.is_dest()) {
        const at::Tensor of_module = w.module_values(both);
        of_module.copy_(
            1 - (1 - of_module) * (1 - nodes.narrow(0, w.in_start, w.n_in())));
      }
    }
    std::vector<at::Tensor> gradients;
    const TrainingLosses expected =
        MaskTraining(both, {}, 1).losses(k.model, step, gradients);
    const TrainingLosses actual =
        MaskTraining(edges, nodes, 1).losses(k.model, step, gradients);
    const auto near = [](double a, double b) { return std::abs(a - b) < 1e-9; };
    CHECK(near(actual.faithfulness, expected.faithfulness));
    CHECK(near(actual.edges, expected.edges));
    CHECK(
        near(actual.nodes, (1 - nodes).sum().item<double>()) &&
        expected.nodes == 0);
  });
}

} // namespace autocircuit::test
