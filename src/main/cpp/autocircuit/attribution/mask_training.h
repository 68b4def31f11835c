#pragma once

#include <torch/optim/adam.h>

#include <cstdint>
#include <mutex>
#include <optional>
#include <vector>

#include "autocircuit/attribution/faithfulness.h"
#include "autocircuit/patch/patchable_model.h"

namespace autocircuit {

/// The cost of a share: linear * (share - target) + quadratic * (share -
/// target)^2.
struct Constraint {
  double linear = 0;
  double quadratic = 0;
  double target = 0;
};

/// One step of a training: of which prompts, and what it goes down.
struct TrainingStep {
  ModelInput input;
  /// Its masks do not count: they are those of the training.
  PatchContext context;
  FaithfulnessTarget target = FaithfulnessTarget::kKlDiv;
  at::Tensor full_model; // see `divergence`
  /// Noise of the masks that are counted, one sample of them.
  Noise count;
  /// Patched edges are the circuit's; if not, all others are.
  bool circuit_is_patched = false;
  /// The number of edges that cost nothing, and what each of the others weighs.
  std::optional<double> circuit_size;
  double edge_weight = 0;
  /// Of the shares of edges and of nodes that are not in the circuit.
  Constraint edge_sparsity;
  Constraint node_sparsity;
};

enum class NotFinite : int64_t {
  kNothing = 0,
  kLogits = 1,
  kLosses = 2,
  kGradients = 3
};

/// The losses that a step went down from. If something was not finite there was
/// no step.
struct TrainingLosses {
  double total = 0;
  double faithfulness = 0;
  double edges = 0; // sampled number of edges in the circuit
  double nodes = 0; // and of nodes; 0 where they have no masks
  NotFinite not_finite = NotFinite::kNothing;
};

/// Masks under training by Adam (Kingma and Ba, 2015), with LibTorch's
/// defaults: of edges, [n_masks], and if nodes have masks, too, of sources,
/// [n_srcs]. An edge is then in the circuit as far as both it and its source
/// are. Shares the memory of the masks. Threads take turns.
class MaskTraining {
 public:
  /// node_masks: undefined for none.
  MaskTraining(
      const at::Tensor& masks,
      const at::Tensor& node_masks,
      double learning_rate);

  /// Forward, loss, backward, and a step of the optimiser.
  TrainingLosses step(const PatchableModel& model, const TrainingStep& step);

  /// The losses that `step` goes down from, and the gradients it would follow,
  /// of the masks of edges and of nodes; none where something is not finite.
  TrainingLosses losses(
      const PatchableModel& model,
      const TrainingStep& step,
      std::vector<at::Tensor>& gradients);

  /// A step of the optimiser along gradients that were computed elsewhere, of
  /// masks of edges alone.
  void step_along(const at::Tensor& gradients);

  /// All that later steps depend on: masks, and the optimiser's means of
  /// gradients and of their squares, [3, n_masks (+ n_srcs)].
  at::Tensor state();

  /// Goes on from the `state` that so many steps led to.
  void restore(const at::Tensor& state, int64_t steps);

 private:
  /// The values by which edges and nodes are patched: ([batch]) [n].
  struct Sample {
    at::Tensor edges;
    at::Tensor nodes;
  };

  TrainingLosses losses_of(
      const PatchableModel& model,
      const TrainingStep& step,
      std::vector<at::Tensor>& gradients);
  Sample sample(
      const PatchableModel& model,
      const MaskTransform& transform,
      int64_t batch);
  void update(const std::vector<at::Tensor>& gradients);

  std::mutex mutex_;
  std::vector<at::Tensor> masks_; // of edges, of nodes
  at::Tensor source_of_;          // of each edge
  torch::optim::Adam adam_;
};

} // namespace autocircuit
