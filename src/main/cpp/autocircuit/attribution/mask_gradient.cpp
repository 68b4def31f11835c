#include "autocircuit/attribution/mask_gradient.h"

#include <ATen/core/grad_mode.h>
#include <torch/csrc/autograd/autograd.h>

namespace autocircuit {

MaskGradient mask_gradient(
    const PatchableModel& model,
    const ModelInput& input,
    const PatchContext& context,
    const AnswerLoss& loss) {
  const at::AutoGradMode record(true);
  PatchContext leaf = context;
  leaf.masks = context.masks.detach().requires_grad_(true);
  leaf.patch_src_outs = context.patch_src_outs.detach();
  ForwardRequest request;
  request.input = input;
  request.input.slice = OutputSlice::kLastSeq;
  request.context = &leaf;
  const at::Tensor logits = forward(model, request).logits;
  const at::Tensor value = answer_loss(
      logits,
      loss.grad_function,
      loss.answer_function,
      loss.answers,
      loss.wrong_answers);
  const auto grads = torch::autograd::grad({value}, {leaf.masks});
  return {grads[0], value.detach(), logits.detach()};
}

} // namespace autocircuit
