#include "autocircuit/attribution/edge_attribution.h"

#include <ATen/core/grad_mode.h>
#include <ATen/ops/cat.h>
#include <ATen/ops/full.h>

#include <algorithm>
#include <utility>
#include <vector>

#include "autocircuit/engine/buffered_run.h"
#include "autocircuit/memory/rehearsal.h"
#include "autocircuit/model/precision.h"

namespace autocircuit {

namespace {

int64_t prompts_of(const EdgeAttribution& request) {
  return request.clean.value.size(0);
}

at::Tensor all_masks(
    const PatchableModel& model,
    const EdgeAttribution& request) {
  const at::TensorOptions options = model.model().options();
  std::vector<int64_t> shape{model.n_masks()};
  if (request.per_prompt) {
    shape.insert(shape.begin(), prompts_of(request));
  }
  const MemoryPartScope masks(MemoryPart::kMasks);
  return at::full(
      shape,
      request.mask_value,
      options.dtype(
          accumulation_type(c10::typeMetaToScalarType(options.dtype()))));
}

void check(const PatchableModel& model, const EdgeAttribution& request) {
  ForwardRequest forward;
  forward.input = request.clean;
  PatchContext context;
  if (request.corrupt.value.defined()) {
    model.model().check_input(request.corrupt);
    TORCH_CHECK(
        request.corrupt.value.sizes() == request.clean.value.sizes(),
        "expected corrupt prompts ",
        request.clean.value.sizes(),
        " like the clean ones, got ",
        request.corrupt.value.sizes());
  } else {
    context.patch_src_outs = request.patch_src_outs;
    context.masks = all_masks(model, request);
    forward.context = &context;
  }
  check_request(model, forward);
  check_positions(model, request.clean.value.size(1));
  for (const at::Tensor& answers :
       {request.loss.answers, request.loss.wrong_answers}) {
    TORCH_CHECK(
        !answers.defined() ||
            (answers.dim() == 2 && answers.size(0) == prompts_of(request)),
        "expected answers of ",
        prompts_of(request),
        " prompts, got ",
        answers.sizes());
  }
}

at::Tensor some_prompts(const at::Tensor& x, int64_t first, int64_t n) {
  return x.defined() ? x.narrow(0, first, n) : x;
}

ModelInput some_prompts(const ModelInput& input, int64_t first, int64_t n) {
  ModelInput some = input;
  some.value = some_prompts(input.value, first, n);
  some.attention_mask = some_prompts(input.attention_mask, first, n);
  for (std::vector<at::Tensor>* entries :
       {&some.prefix.keys, &some.prefix.values}) {
    for (at::Tensor& entry : *entries) {
      entry = entry.size(0) == 1 ? entry : some_prompts(entry, first, n);
    }
  }
  return some;
}

ForwardRequest for_last_logits(const ModelInput& input) {
  ForwardRequest request;
  request.input = input;
  request.input.slice = OutputSlice::kLastSeq;
  return request;
}

CompactSources compact_outputs(
    const PatchableModel& model,
    const ModelInput& input) {
  const at::NoGradGuard no_grad;
  const auto sources = c10::make_intrusive<CompactSources>();
  compact_forward(model, for_last_logits(input), sources);
  return *sources;
}

MaskGradient compact_gradient(
    const PatchableModel& model,
    const EdgeAttribution& request) {
  const at::Tensor masks = all_masks(model, request).requires_grad_(true);
  const auto sources =
      c10::make_intrusive<CompactSources>(request.mask_value != 0);
  if (request.corrupt.value.defined()) {
    sources->subtract_from(compact_outputs(model, request.corrupt));
  } else {
    sources->subtract_from(request.patch_src_outs);
  }
  const PatchContext context{
      .patch_src_outs = {},
      .masks = masks,
      .transform = {},
      .uniform = request.mask_value};
  ForwardRequest clean = for_last_logits(request.clean);
  clean.context = &context;
  const at::AutoGradMode record(true);
  return mask_gradient_of(
      compact_forward(model, clean, sources).logits, masks, request.loss);
}

MaskGradient plain_gradient(
    const PatchableModel& model,
    const EdgeAttribution& request) {
  at::Tensor patch = request.patch_src_outs;
  if (request.corrupt.value.defined()) {
    const at::NoGradGuard no_grad;
    ForwardRequest corrupt = for_last_logits(request.corrupt);
    corrupt.want_src_outs = true;
    corrupt.only_last_counts = true; // for the logits that the loss is of
    patch = forward(model, corrupt).src_outs;
  }
  if (!request.want_differences) {
    return mask_gradient(
        model,
        request.clean,
        {.patch_src_outs = patch,
         .masks = all_masks(model, request),
         .transform = {},
         .uniform = request.mask_value},
        request.loss);
  }
  const at::AutoGradMode record(true);
  const PatchContext context{
      .patch_src_outs = patch.detach(),
      .masks = all_masks(model, request).requires_grad_(true),
      .transform = {},
      .uniform = request.mask_value};
  ForwardRequest clean = for_last_logits(request.clean);
  clean.context = &context;
  clean.want_differences = true;
  clean.policy = PlanPolicy::kBuffered;
  const ForwardResult run = forward(model, clean);
  MaskGradient result =
      mask_gradient_of(run.logits, context.masks, request.loss);
  result.differences = run.differences;
  return result;
}

} // namespace

EdgeAttribution some_prompts(
    const EdgeAttribution& request,
    int64_t first,
    int64_t n) {
  EdgeAttribution some = request;
  some.clean = some_prompts(request.clean, first, n);
  if (request.corrupt.value.defined()) {
    some.corrupt = some_prompts(request.corrupt, first, n);
  } else {
    some.patch_src_outs = request.patch_src_outs.narrow(1, first, n);
  }
  some.loss.answers = some_prompts(request.loss.answers, first, n);
  some.loss.wrong_answers = some_prompts(request.loss.wrong_answers, first, n);
  return some;
}

MaskGradient edge_attribution(
    const PatchableModel& model,
    const EdgeAttribution& request,
    AttributionSplit split) {
  check(model, request);
  const int64_t batch = prompts_of(request);
  TORCH_CHECK(
      !request.want_differences || (split.prompts >= batch && !split.compact),
      "expected a memory limit that all prompts fit into at once, where their "
      "differences are asked for");
  MaskGradient sum;
  std::vector<at::Tensor> grads; // of prompts
  std::vector<at::Tensor> logits;
  for (int64_t first = 0; first < batch; first += split.prompts) {
    const int64_t n = std::min(split.prompts, batch - first);
    const EdgeAttribution some = some_prompts(request, first, n);
    const MaskGradient part = split.compact ? compact_gradient(model, some)
                                            : plain_gradient(model, some);
    // Losses are means over prompts.
    const double weight = static_cast<double>(n) / static_cast<double>(batch);
    const auto add = [](at::Tensor& to, const at::Tensor& value) {
      to = to.defined() ? to + value : value;
    };
    if (request.per_prompt) {
      grads.push_back(part.grad * static_cast<double>(n));
    } else {
      add(sum.grad, part.grad * weight);
    }
    add(sum.loss, part.loss * weight);
    logits.push_back(part.logits);
    sum.differences = part.differences;
  }
  if (request.per_prompt) {
    sum.grad = at::cat(grads);
  }
  sum.logits = at::cat(logits);
  return sum;
}

} // namespace autocircuit
