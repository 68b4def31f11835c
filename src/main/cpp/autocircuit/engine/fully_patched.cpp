#include "autocircuit/engine/fully_patched.h"

#include "autocircuit/engine/masked_rows.h"
#include "autocircuit/engine/pass_end.h"

namespace autocircuit {

at::Tensor plus_constant(
    const PatchableModel& model,
    const PatchWrapper& dest,
    const at::Tensor& sum) {
  const at::Tensor constant = model.constant(dest);
  return constant.defined() ? constant + sum : sum;
}

FullyPatched::FullyPatched(
    const PatchableModel& model,
    const at::Tensor& patch_src_outs)
    : model_(model),
      patch_(patch_src_outs.permute({1, 2, 0, 3})),
      batch_(patch_.size(0)),
      seq_(patch_.size(1)) {
  for (const int64_t dim : {0, 1}) { // of means and zeros, one is enough
    if (patch_.stride(dim) == 0) {
      patch_ = patch_.narrow(dim, 0, 1);
    }
  }
}

at::Tensor FullyPatched::input(const PatchWrapper& dest, int64_t positions) {
  if (!model_.reads_only_sources(dest)) {
    return {};
  }
  if (dest.in_start != start_ || dest.in_stop < stop_) {
    start_ = dest.in_start;
    stop_ = start_;
    sum_ = at::Tensor();
  }
  if (dest.in_stop > stop_) {
    sum_ = add_rows(sum_, patch_.narrow(2, stop_, dest.in_stop - stop_));
    stop_ = dest.in_stop;
  }
  return last_positions(
      plus_constant(model_, dest, sum_).expand({batch_, seq_, sum_.size(2)}),
      positions);
}

std::vector<at::Tensor> fully_patched_inputs(
    const PatchableModel& model,
    const at::Tensor& patch_src_outs) {
  std::vector<at::Tensor> inputs(model.model().hook_names().size());
  FullyPatched patched(model, patch_src_outs);
  const int64_t seq = patch_src_outs.size(2);
  for (const ModelNode& node : model.model().nodes()) {
    for (size_t i = 0; i < node.inputs.size(); i++) {
      const PatchWrapper& w = *model.wrapper(node.inputs[i]);
      // Most inputs of a node read the same sources: one tensor for all.
      const PatchWrapper* before =
          i == 0 ? nullptr : model.wrapper(node.inputs[i - 1]);
      const bool same = before != nullptr && before->in_start == w.in_start &&
          before->in_stop == w.in_stop;
      inputs[static_cast<size_t>(node.inputs[i])] = same
          ? inputs[static_cast<size_t>(node.inputs[i - 1])]
          : patched.input(w, seq);
    }
  }
  return inputs;
}

} // namespace autocircuit
