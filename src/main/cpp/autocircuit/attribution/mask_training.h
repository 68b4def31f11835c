#pragma once

#include <torch/optim/adam.h>

#include <cstdint>
#include <mutex>
#include <optional>

#include "autocircuit/attribution/faithfulness.h"
#include "autocircuit/patch/patchable_model.h"

namespace autocircuit {

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
  NotFinite not_finite = NotFinite::kNothing;
};

/// Masks under training by Adam (Kingma and Ba, 2015), with LibTorch's
/// defaults. Shares the memory of the masks, [n_masks]. Threads take turns.
class MaskTraining {
 public:
  MaskTraining(const at::Tensor& masks, double learning_rate);

  /// Forward, loss, backward, and a step of the optimiser.
  TrainingLosses step(const PatchableModel& model, const TrainingStep& step);

  /// A step of the optimiser along gradients that were computed elsewhere.
  void step_along(const at::Tensor& gradients);

 private:
  void update(const at::Tensor& gradients);

  std::mutex mutex_;
  at::Tensor masks_;
  torch::optim::Adam adam_;
};

} // namespace autocircuit
