#include "autocircuit/attribution/point_gradient.h"

#include <ATen/core/grad_mode.h>
#include <ATen/ops/zeros.h>

#include "autocircuit/engine/forward.h"
#include "autocircuit/engine/point_run.h"
#include "autocircuit/model/precision.h"

namespace autocircuit {

namespace {

void check(
    const PatchableModel& model,
    const PointAttribution& request,
    const at::Tensor& masks) {
  PatchContext context{
      .patch_src_outs = request.differences, .masks = masks, .transform = {}};
  ForwardRequest forward;
  forward.input = request.clean;
  forward.added = request.added;
  forward.context = &context;
  check_request(model, forward);
}

} // namespace

MaskGradient point_gradient(
    const PatchableModel& model,
    const PointAttribution& request) {
  TORCH_CHECK(request.clean.value.defined(), "the model's input is undefined");
  const int64_t batch = request.clean.value.size(0);
  const at::TensorOptions options = model.model().options();
  std::vector<int64_t> shape{model.n_masks()};
  if (request.per_prompt) {
    shape.insert(shape.begin(), batch);
  }
  const at::Tensor masks = at::zeros(
                               shape,
                               options.dtype(accumulation_type(
                                   c10::typeMetaToScalarType(options.dtype()))))
                               .requires_grad_(true);
  check(model, request, masks);
  const at::AutoGradMode record(true);
  PointRequest point{
      .input = request.clean,
      .differences = request.differences,
      .masks = masks,
      .added = request.added};
  point.input.slice = OutputSlice::kLastSeq;
  MaskGradient result =
      mask_gradient_of(point_forward(model, point), masks, request.loss);
  if (request.per_prompt) {
    // The loss is a mean over prompts.
    result.grad = result.grad * static_cast<double>(batch);
  }
  return result;
}

} // namespace autocircuit
