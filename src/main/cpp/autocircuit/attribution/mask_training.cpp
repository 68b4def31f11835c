#include "autocircuit/attribution/mask_training.h"

#include <ATen/core/grad_mode.h>
#include <torch/csrc/autograd/autograd.h>

#include <cmath>

#include "autocircuit/engine/forward.h"
#include "autocircuit/model/precision.h"

namespace autocircuit {

namespace {

bool all_finite(const at::Tensor& values) {
  return values.isfinite().all().item<bool>();
}

// A sample of how many edges are in the circuit.
at::Tensor edges_of(const at::Tensor& masks, const TrainingStep& step) {
  const MaskTransform transform{
      .fn = step.context.transform.fn, .noise = step.count};
  const at::Tensor patched =
      mask_values(masks, /*batched=*/false, /*batch=*/1, transform).sum();
  return step.circuit_is_patched ? patched : masks.numel() - patched;
}

} // namespace

MaskTraining::MaskTraining(const at::Tensor& masks, double learning_rate)
    : masks_(masks.detach().requires_grad_(true)),
      adam_({masks_}, torch::optim::AdamOptions(learning_rate)) {}

TrainingLosses MaskTraining::step(
    const PatchableModel& model,
    const TrainingStep& step) {
  const std::lock_guard<std::mutex> lock(mutex_);
  const at::AutoGradMode record(true);
  PatchContext context = step.context;
  context.masks = masks_;
  context.patch_src_outs = context.patch_src_outs.detach();
  ForwardRequest request;
  request.input = step.input;
  request.context = &context;
  const at::Tensor logits = forward(model, request).logits;
  const at::Tensor faithfulness = divergence(
      step.target,
      logits.to(accumulation_type(logits.scalar_type())),
      step.full_model,
      step.input.attention_mask);
  const at::Tensor edges = edges_of(masks_, step);
  const at::Tensor excess =
      step.circuit_size ? (edges - *step.circuit_size).relu() : edges;
  const at::Tensor total = faithfulness + excess * step.edge_weight;
  TrainingLosses losses{
      .total = total.item<double>(),
      .faithfulness = faithfulness.item<double>(),
      .edges = edges.item<double>()};
  if (!std::isfinite(losses.total)) {
    losses.not_finite =
        all_finite(logits) ? NotFinite::kLosses : NotFinite::kLogits;
    return losses;
  }
  const at::Tensor gradients = torch::autograd::grad({total}, {masks_}).front();
  if (!all_finite(gradients)) {
    losses.not_finite = NotFinite::kGradients;
    return losses;
  }
  update(gradients);
  return losses;
}

void MaskTraining::step_along(const at::Tensor& gradients) {
  const std::lock_guard<std::mutex> lock(mutex_);
  update(gradients);
}

void MaskTraining::update(const at::Tensor& gradients) {
  masks_.mutable_grad() = gradients.detach();
  adam_.step();
  masks_.mutable_grad().reset();
}

} // namespace autocircuit
