#include "autocircuit/engine/forward.h"

#include <ATen/core/grad_mode.h>

#include <utility>

#include "autocircuit/engine/buffered_run.h"
#include "autocircuit/engine/planned_run.h"
#include "autocircuit/engine/reference_run.h"
#include "autocircuit/model/precision.h"

namespace autocircuit {

namespace {

void check_options(
    const at::TensorOptions& options,
    const char* name,
    const at::Tensor& tensor) {
  TORCH_CHECK(tensor.defined(), name, " are undefined");
  TORCH_CHECK(
      tensor.dtype() == options.dtype() && tensor.device() == options.device(),
      "expected ",
      name,
      " of ",
      options.dtype(),
      " on ",
      options.device(),
      " to fit the weights, got ",
      tensor.dtype(),
      " on ",
      tensor.device());
}

} // namespace

void check_src_outs(
    const PatchableModel& model,
    const ModelInput& input,
    const char* name,
    const at::Tensor& src_outs) {
  check_options(model.model().options(), name, src_outs);
  const std::vector<int64_t> shape{
      model.n_srcs(),
      input.value.size(0),
      input.value.size(1),
      model.model().d_model()};
  TORCH_CHECK(
      src_outs.sizes() == shape,
      "expected ",
      name,
      " [n_srcs, batch, seq, d_model] = ",
      at::IntArrayRef(shape),
      ", got ",
      src_outs.sizes());
}

void check_request(const PatchableModel& model, const ForwardRequest& request) {
  const ModelInput& input = request.input;
  model.model().check_input(input);
  if (request.start_src_outs.defined()) {
    check_src_outs(
        model, input, "starting source outputs", request.start_src_outs);
  }
  TORCH_CHECK(
      input.start_block == 0 || request.start_src_outs.defined() ||
          (request.context == nullptr && !request.want_src_outs),
      "starting at block ",
      input.start_block,
      " needs the outputs of the sources before it");
  check_additions(
      model.model(), request.added, input.value.size(0), input.value.size(1));
  if (request.context == nullptr) {
    return;
  }
  check_src_outs(
      model, input, "source activations", request.context->patch_src_outs);
  const at::Tensor& masks = request.context->masks;
  const at::TensorOptions options = model.model().options();
  check_options(
      options.dtype(
          accumulation_type(c10::typeMetaToScalarType(options.dtype()))),
      "masks",
      masks);
  TORCH_CHECK(
      (masks.dim() == 1 ||
       (masks.dim() == 2 && masks.size(0) == input.value.size(0))) &&
          masks.size(-1) == model.n_masks(),
      "expected masks ([batch]) [n_masks] = ([",
      input.value.size(0),
      "]) [",
      model.n_masks(),
      "], got ",
      masks.sizes());
  check_positions(model, input.value.size(1));
}

void check_positions(const PatchableModel& model, int64_t seq) {
  for (const PatchWrapper& w : model.wrappers()) {
    TORCH_CHECK(
        !w.is_dest() || w.seq_len == 0 || w.seq_len == seq,
        w.module,
        ": its masks are for ",
        w.seq_len,
        " positions, got prompts of ",
        seq);
  }
}

ForwardResult forward(
    const PatchableModel& model,
    const ForwardRequest& request) {
  check_request(model, request);
  // Only the reference executor does these: hook points as they are read, and
  // gradients of weights.
  if (request.policy == PlanPolicy::kReference || !request.reads.empty() ||
      (at::GradMode::is_enabled() && model.model().weights().require_grad())) {
    return reference_forward(model, request);
  }
  // Additions make all that is cached of other passes useless.
  if (request.policy != PlanPolicy::kBuffered && request.added.empty()) {
    if (std::optional<ForwardResult> result = planned_forward(model, request)) {
      return *std::move(result);
    }
  }
  return buffered_forward(model, request);
}

} // namespace autocircuit
