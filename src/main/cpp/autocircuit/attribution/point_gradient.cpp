#include "autocircuit/attribution/point_gradient.h"

#include <ATen/core/grad_mode.h>
#include <ATen/ops/zeros.h>

#include <algorithm>

#include "autocircuit/engine/forward.h"
#include "autocircuit/engine/point_run.h"
#include "autocircuit/model/precision.h"

namespace autocircuit {

namespace {

/// The number of points, or 0 for one that is not counted.
int64_t points_of(const PointAttribution& request) {
  int64_t points = 0;
  for (const Addition& addition : request.added) {
    if (addition.value.defined() && addition.value.dim() == 4) {
      TORCH_CHECK(
          points == 0 || points == addition.value.size(0),
          addition.hook,
          ": expected something to add at ",
          points,
          " points, got ",
          addition.value.sizes());
      points = addition.value.size(0);
    }
  }
  return points;
}

/// The additions to all points, one after another.
std::vector<Addition> one_after_another(
    const PointAttribution& request,
    int64_t points) {
  std::vector<Addition> added = request.added;
  for (Addition& addition : added) {
    at::Tensor& value = addition.value;
    if (points == 0 || !value.defined() || value.dim() < 3) {
      continue;
    }
    if (value.dim() == 3) {
      value = value.unsqueeze(0);
    }
    const int64_t batch = request.clean.value.size(0);
    value =
        value
            .expand(
                {points, value.size(1) == 1 ? batch : value.size(1), -1, -1})
            .flatten(0, 1);
  }
  return added;
}

void check(
    const PatchableModel& model,
    const PointAttribution& request,
    const PointRequest& point) {
  ForwardRequest forward;
  forward.input = point.input;
  forward.added = point.added;
  check_request(model, forward);
  check_src_outs(model, request.clean, "differences", request.differences);
  check_positions(model, request.clean.value.size(1));
  TORCH_CHECK(
      0 <= point.src_start && point.src_start < point.src_stop &&
          point.src_stop <= model.n_srcs(),
      "expected some of ",
      model.n_srcs(),
      " sources, got ",
      point.src_start,
      " to ",
      point.src_stop);
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
  const int64_t points = points_of(request);
  PointRequest point{
      .input = repeated(request.clean, std::max<int64_t>(points, 1)),
      .differences = request.differences,
      .masks = masks,
      .src_start = request.src_start,
      .src_stop = request.src_stop < 0 ? model.n_srcs() : request.src_stop,
      .added = one_after_another(request, points)};
  check(model, request, point);
  point.input.slice = OutputSlice::kLastSeq;
  const at::AutoGradMode record(true);
  const at::Tensor logits = point_forward(model, point);
  MaskGradient result = mask_gradient_of(
      points == 0 ? logits : logits.unflatten(0, {points, batch}),
      masks,
      request.loss);
  if (request.per_prompt) {
    // The loss is a mean over prompts.
    result.grad = result.grad * static_cast<double>(batch);
  }
  return result;
}

} // namespace autocircuit
