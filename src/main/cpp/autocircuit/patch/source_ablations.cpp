#include "autocircuit/patch/source_ablations.h"

#include <ATen/ops/zeros.h>

namespace autocircuit {

at::Tensor source_ablations(
    const PatchableModel& model,
    const at::Tensor& input,
    BatchAblation ablation) {
  ForwardRequest request;
  request.input = {
      .value = input, .start_block = 0, .slice = OutputSlice::kLastSeq};
  if (ablation == BatchAblation::kZero) {
    model.model().check_input(request.input);
    return at::zeros({1}, model.model().options())
        .expand(
            {model.n_srcs(),
             input.size(0),
             input.size(1),
             model.model().d_model()});
  }
  request.want_src_outs = true;
  const at::Tensor src_outs = forward(model, request).src_outs;
  switch (ablation) {
    case BatchAblation::kResample:
      return src_outs;
    case BatchAblation::kBatchTokenwiseMean:
      return src_outs.mean(1, /*keepdim=*/true).expand(src_outs.sizes());
    case BatchAblation::kBatchAllTokMean:
      return src_outs.mean({1, 2}, /*keepdim=*/true).expand(src_outs.sizes());
    default:
      TORCH_CHECK(false, "unknown ablation ", static_cast<int64_t>(ablation));
  }
}

} // namespace autocircuit
