#include "autocircuit/attribution/mask_gradient.h"

#include <ATen/core/grad_mode.h>
#include <ATen/ops/full_like.h>
#include <torch/csrc/autograd/autograd.h>

#include "autocircuit/engine/mask_plans.h"
#include "autocircuit/memory/rehearsal.h"

namespace autocircuit {

namespace {

// The one value of all masks, if they have one and looking costs no
// synchronisation.
std::optional<double> uniform_value(const PatchContext& context) {
  const at::Tensor& masks = mask_numbers(context);
  if (!masks.is_cpu() || context.transform.fn != MaskFn::kNone ||
      context.transform.dropout > 0) {
    return std::nullopt;
  }
  return one_value(masks);
}

} // namespace

MaskGradient mask_gradient(
    const PatchableModel& model,
    const ModelInput& input,
    const PatchContext& context,
    const AnswerLoss& loss,
    PlanPolicy policy) {
  const at::AutoGradMode record(true);
  PatchContext leaf = context;
  leaf.masks = context.masks.detach().requires_grad_(true);
  leaf.patch_src_outs = context.patch_src_outs.detach();
  if (!leaf.uniform) {
    leaf.uniform = uniform_value(leaf);
  }
  ForwardRequest request;
  request.policy = policy;
  request.input = input;
  request.input.slice = OutputSlice::kLastSeq;
  request.context = &leaf;
  return mask_gradient_of(forward(model, request).logits, leaf.masks, loss);
}

MaskGradient mask_gradient_of(
    const at::Tensor& logits,
    const at::Tensor& masks,
    const AnswerLoss& loss) {
  const at::AutoGradMode record(true);
  const at::Tensor value = answer_loss(
                               logits,
                               loss.grad_function,
                               loss.answer_function,
                               loss.answers,
                               loss.wrong_answers)
                               .mean();
  // The mean over prompts makes gradients of activations small, and fp16 has
  // nothing below 6e-8: go backward from the sum, and divide in fp32.
  const bool small = logits.scalar_type() == at::kHalf;
  const auto prompts = static_cast<double>(small ? logits.size(-2) : 1);
  const MemoryPartScope gradients(MemoryPart::kGradients);
  const auto grads =
      torch::autograd::grad({value}, {masks}, {at::full_like(value, prompts)});
  return {
      small ? grads[0] / prompts : grads[0], value.detach(), logits.detach()};
}

} // namespace autocircuit
