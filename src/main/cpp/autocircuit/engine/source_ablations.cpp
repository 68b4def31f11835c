#include "autocircuit/engine/source_ablations.h"

#include <ATen/ops/zeros.h>

#include "autocircuit/memory/rehearsal.h"
#include "autocircuit/model/precision.h"

namespace autocircuit {

namespace {

// The mean over dimensions of [n_srcs, batch, seq, d_model], in its shape.
at::Tensor repeated_mean(
    const at::Tensor& src_outs,
    const at::Tensor& attention_mask,
    at::IntArrayRef dims) {
  // Sums and counts do not fit into 16 bits. On the CPU, LibTorch would widen
  // by itself, unseen by rehearsals.
  const at::ScalarType wide = accumulation_type(src_outs.scalar_type());
  const auto widened = [&](const at::Tensor& x) {
    return is_on_cpu(x) ? x.to(wide) : x;
  };
  if (!attention_mask.defined()) {
    return widened(src_outs)
        .mean(dims, /*keepdim=*/true)
        .to(src_outs.scalar_type())
        .expand(src_outs.sizes());
  }
  const at::Tensor present =
      (attention_mask != 0).to(src_outs.dtype()).unsqueeze(0).unsqueeze(-1);
  const at::Tensor sum =
      widened(src_outs * present).sum(dims, /*keepdim=*/true, wide);
  const at::Tensor count =
      present.sum(dims, /*keepdim=*/true, wide).clamp_min(1);
  return (sum / count).to(src_outs.scalar_type()).expand(src_outs.sizes());
}

} // namespace

at::Tensor source_ablations(
    const PatchableModel& model,
    const ModelInput& input,
    BatchAblation ablation,
    FullyPatchedCache* fully_patched) {
  ForwardRequest request;
  request.input = input;
  request.input.slice = OutputSlice::kLastSeq;
  if (ablation == BatchAblation::kZero) {
    model.model().check_input(request.input);
    return at::zeros({1}, model.model().options())
        .expand(
            {model.n_srcs(),
             input.value.size(0),
             input.value.size(1),
             model.model().d_model()});
  }
  request.want_src_outs = true;
  const at::Tensor src_outs = forward(model, request).src_outs;
  switch (ablation) {
    case BatchAblation::kResample:
      if (fully_patched != nullptr) {
        fully_patched->resampled_from(model, input, src_outs);
      }
      return src_outs;
    case BatchAblation::kBatchTokenwiseMean:
      return repeated_mean(src_outs, input.attention_mask, {1});
    case BatchAblation::kBatchAllTokMean:
      return repeated_mean(src_outs, input.attention_mask, {1, 2});
    default:
      TORCH_CHECK(false, "unknown ablation ", static_cast<int64_t>(ablation));
  }
}

} // namespace autocircuit
