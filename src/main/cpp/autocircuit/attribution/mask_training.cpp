#include "autocircuit/attribution/mask_training.h"

#include <ATen/core/grad_mode.h>
#include <ATen/ops/cat.h>
#include <ATen/ops/empty_like.h>
#include <ATen/ops/stack.h>
#include <ATen/ops/tensor.h>
#include <ATen/ops/zeros_like.h>
#include <torch/csrc/autograd/autograd.h>

#include <cmath>
#include <memory>
#include <utility>

#include "autocircuit/engine/forward.h"
#include "autocircuit/memory/rehearsal.h"
#include "autocircuit/model/precision.h"

namespace autocircuit {

namespace {

// Rehearsals have no numbers, and go on as if all was well.
bool all_finite(const at::Tensor& values) {
  return is_rehearsed(values) || values.isfinite().all().item<bool>();
}

double number(const at::Tensor& value) {
  return is_rehearsed(value) ? 0 : value.item<double>();
}

std::vector<at::Tensor> leaves(
    const at::Tensor& masks,
    const at::Tensor& node_masks) {
  std::vector<at::Tensor> all{masks.detach().requires_grad_(true)};
  if (node_masks.defined()) {
    all.push_back(node_masks.detach().requires_grad_(true));
  }
  return all;
}

// The source that each mask is an edge of.
at::Tensor sources_of_masks(const PatchableModel& model) {
  std::vector<int64_t> sources(static_cast<size_t>(model.n_masks()));
  for (const PatchWrapper& w : model.wrappers()) {
    for (int64_t i = 0; w.is_dest() && i < w.mask_size(); i++) {
      sources[static_cast<size_t>(w.mask_offset + i)] =
          w.in_start + i % w.n_in();
    }
  }
  return at::tensor(sources, at::kLong).to(model.model().options().device());
}

at::Tensor penalty(const Constraint& constraint, const at::Tensor& share) {
  const at::Tensor off = share - constraint.target;
  return off * constraint.linear + off.square() * constraint.quadratic;
}

} // namespace

MaskTraining::MaskTraining(
    const at::Tensor& masks,
    const at::Tensor& node_masks,
    double learning_rate)
    : masks_(leaves(masks, node_masks)),
      adam_(masks_, torch::optim::AdamOptions(learning_rate)) {}

TrainingLosses MaskTraining::step(
    const PatchableModel& model,
    const TrainingStep& step) {
  const std::lock_guard<std::mutex> lock(mutex_);
  std::vector<at::Tensor> gradients;
  const TrainingLosses losses = losses_of(model, step, gradients);
  if (losses.not_finite == NotFinite::kNothing) {
    update(gradients);
  }
  return losses;
}

TrainingLosses MaskTraining::losses(
    const PatchableModel& model,
    const TrainingStep& step,
    std::vector<at::Tensor>& gradients) {
  const std::lock_guard<std::mutex> lock(mutex_);
  return losses_of(model, step, gradients);
}

void MaskTraining::step_along(const at::Tensor& gradients) {
  TORCH_CHECK(masks_.size() == 1, "expected nodes without masks");
  const std::lock_guard<std::mutex> lock(mutex_);
  update({gradients});
}

at::Tensor MaskTraining::state() {
  const std::lock_guard<std::mutex> lock(mutex_);
  std::vector<at::Tensor> masks;
  std::vector<at::Tensor> means;
  std::vector<at::Tensor> squares;
  for (const at::Tensor& some : masks_) {
    masks.push_back(some.detach());
    const auto found = adam_.state().find(some.unsafeGetTensorImpl());
    if (found == adam_.state().end()) {
      means.push_back(at::zeros_like(some));
      squares.push_back(at::zeros_like(some));
    } else {
      const auto& adam =
          static_cast<const torch::optim::AdamParamState&>(*found->second);
      means.push_back(adam.exp_avg());
      squares.push_back(adam.exp_avg_sq());
    }
  }
  return at::stack({at::cat(masks), at::cat(means), at::cat(squares)});
}

void MaskTraining::restore(const at::Tensor& state, int64_t steps) {
  const std::lock_guard<std::mutex> lock(mutex_);
  const at::NoGradGuard no_grad;
  int64_t begin = 0;
  for (const at::Tensor& masks : masks_) {
    const at::Tensor of_masks = state.narrow(1, begin, masks.numel());
    begin += masks.numel();
    masks.copy_(of_masks[0]);
    auto adam = std::make_unique<torch::optim::AdamParamState>();
    adam->step(steps);
    adam->exp_avg(at::empty_like(masks).copy_(of_masks[1]));
    adam->exp_avg_sq(at::empty_like(masks).copy_(of_masks[2]));
    adam_.state()[masks.unsafeGetTensorImpl()] = std::move(adam);
  }
  TORCH_CHECK(
      begin == state.size(1),
      "expected the state of ",
      begin,
      " masks, got that of ",
      state.size(1));
}

TrainingLosses MaskTraining::losses_of(
    const PatchableModel& model,
    const TrainingStep& step,
    std::vector<at::Tensor>& gradients) {
  const at::AutoGradMode record(true);
  const bool of_nodes = masks_.size() > 1;
  TORCH_CHECK(
      !(of_nodes && step.circuit_is_patched),
      "expected nodes without masks, where the circuit is what is patched");
  PatchContext context = step.context;
  context.patch_src_outs = context.patch_src_outs.detach();
  context.masks = masks_[0];
  if (of_nodes) {
    context.masks =
        sample(model, context.transform, step.input.value.size(0)).edges;
    context.transform = {};
  }
  ForwardRequest request;
  request.input = step.input;
  request.context = &context;
  const at::Tensor logits = forward(model, request).logits;
  const at::Tensor faithfulness = divergence(
      step.target,
      logits.to(accumulation_type(logits.scalar_type())),
      step.full_model,
      step.input.attention_mask);
  const Sample counted = sample(
      model,
      {.fn = step.context.transform.fn, .noise = step.count},
      /*batch=*/1);
  const auto n_edges = static_cast<double>(masks_[0].numel());
  const at::Tensor patched = counted.edges.sum();
  const at::Tensor edges =
      step.circuit_is_patched ? patched : n_edges - patched;
  const at::Tensor excess =
      step.circuit_size ? (edges - *step.circuit_size).relu() : edges;
  at::Tensor total = faithfulness + excess * step.edge_weight +
      penalty(step.edge_sparsity, 1 - edges / n_edges);
  TrainingLosses losses{
      .faithfulness = number(faithfulness), .edges = number(edges)};
  if (of_nodes) {
    const at::Tensor sparsity = counted.nodes.mean();
    total = total + penalty(step.node_sparsity, sparsity);
    losses.nodes =
        static_cast<double>(masks_[1].numel()) * (1 - number(sparsity));
  }
  losses.total = number(total);
  if (!std::isfinite(losses.total)) {
    losses.not_finite =
        all_finite(logits) ? NotFinite::kLosses : NotFinite::kLogits;
    return losses;
  }
  {
    const MemoryPartScope backward(MemoryPart::kGradients);
    gradients = torch::autograd::grad({total}, masks_);
  }
  for (const at::Tensor& gradient : gradients) {
    if (!all_finite(gradient)) {
      losses.not_finite = NotFinite::kGradients;
    }
  }
  return losses;
}

MaskTraining::Sample MaskTraining::sample(
    const PatchableModel& model,
    const MaskTransform& transform,
    int64_t batch) {
  if (masks_.size() == 1) {
    return {mask_values(masks_[0], /*batched=*/false, batch, transform), {}};
  }
  TORCH_CHECK(
      masks_[1].numel() == model.n_srcs(),
      "expected masks of ",
      model.n_srcs(),
      " nodes, got ",
      masks_[1].numel());
  if (!source_of_.defined()) {
    source_of_ = sources_of_masks(model);
  }
  const at::Tensor all =
      mask_values(at::cat(masks_), /*batched=*/false, batch, transform);
  const at::Tensor nodes = all.narrow(-1, masks_[0].numel(), masks_[1].numel());
  const at::Tensor edges = all.narrow(-1, 0, masks_[0].numel());
  return {1 - (1 - edges) * (1 - nodes.index_select(-1, source_of_)), nodes};
}

void MaskTraining::update(const std::vector<at::Tensor>& gradients) {
  const MemoryPartScope part(MemoryPart::kMasks); // Adam's means
  for (size_t i = 0; i < masks_.size(); i++) {
    masks_[i].mutable_grad() = gradients[i].detach();
  }
  adam_.step();
  for (const at::Tensor& masks : masks_) {
    masks.mutable_grad().reset();
  }
}

} // namespace autocircuit
