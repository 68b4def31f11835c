#include "autocircuit/attribution/pattern_effects.h"

#include <ATen/core/grad_mode.h>
#include <ATen/ops/zeros_like.h>

namespace autocircuit {

namespace {

void check(const PatchableModel& model, const PatternEffects& request) {
  const ModelInput& stream = request.stream;
  model.model().check_input(stream);
  TORCH_CHECK(stream.is_resid, "expected the residual stream of a block");
  const at::Tensor& differences = request.differences;
  TORCH_CHECK(
      differences.defined() && differences.dim() == 4 &&
          differences.sizes().slice(1) == stream.value.sizes() &&
          differences.dtype() == stream.value.dtype() &&
          differences.device() == stream.value.device(),
      "expected differences [n, batch, seq, d_model] that fit the stream ",
      stream.value.sizes(),
      ", got ",
      differences.sizes());
  TORCH_CHECK(
      request.pattern.defined() && request.gradient.defined() &&
          request.pattern.dim() == 4 &&
          request.pattern.sizes() == request.gradient.sizes(),
      "expected a pattern [batch, heads, seq, keys] and its gradient");
  TORCH_CHECK(
      request.position >= -1 && request.position < stream.value.size(1),
      "expected a position below ",
      stream.value.size(1),
      ", got ",
      request.position);
}

at::Tensor at_position(const at::Tensor& differences, int64_t position) {
  if (position < 0) {
    return differences;
  }
  const at::Tensor some = at::zeros_like(differences);
  some.select(2, position).copy_(differences.select(2, position));
  return some;
}

} // namespace

at::Tensor pattern_effects(
    const PatchableModel& model,
    const PatternEffects& request) {
  check(model, request);
  const at::NoGradGuard no_grad;
  const int64_t n = request.differences.size(0);
  const at::Tensor& stream = request.stream.value;
  const at::Tensor patched =
      (stream + at_position(request.differences, request.position))
          .flatten(0, 1); // [n * batch, seq, d_model]
  const ModelInput all = repeated(request.stream, n);
  const int64_t block = request.stream.start_block;
  const at::Tensor pattern = request.of_keys
      ? model.model().pattern(block, stream, patched, all)
      : model.model().pattern(block, patched, stream, all);
  return ((pattern.unflatten(0, {n, stream.size(0)}) - request.pattern) *
          request.gradient)
      .sum(-1, /*keepdim=*/false, at::kDouble);
}

} // namespace autocircuit
