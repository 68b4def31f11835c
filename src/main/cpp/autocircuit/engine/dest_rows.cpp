#include "autocircuit/engine/dest_rows.h"

#include <ATen/ops/cat.h>

#include "autocircuit/engine/pass_end.h"

namespace autocircuit {

std::vector<const PatchWrapper*> wrappers_together(
    const PatchableModel& model,
    c10::ArrayRef<HookId> modules) {
  std::vector<const PatchWrapper*> wrappers;
  for (const HookId module : modules) {
    if (const PatchWrapper* w = model.wrapper(module)) {
      wrappers.push_back(w);
    }
  }
  TORCH_CHECK(
      wrappers.empty() || wrappers.size() == modules.size(),
      wrappers[0]->module,
      ": wrap the q, k and v inputs of a block together or not at all");
  return wrappers;
}

at::Tensor values_together(
    const std::vector<const PatchWrapper*>& wrappers,
    const at::Tensor& flat,
    int64_t positions) {
  const PatchWrapper& first = *wrappers[0];
  std::vector<at::Tensor> parts;
  for (const PatchWrapper* w : wrappers) {
    TORCH_CHECK(
        w->in_start == first.in_start && w->in_stop == first.in_stop,
        w->module,
        ": expected the same incoming sources as ",
        first.module);
    parts.push_back(w->token_values(flat, positions));
  }
  return parts.size() == 1 ? parts[0] : at::cat(parts, /*dim=*/2);
}

at::Tensor uniformly_patched(
    const at::Tensor& resid,
    const at::Tensor& total,
    double value) {
  if (value == 0) {
    return resid;
  }
  const at::Tensor all_patched =
      resid.detach() + last_positions(total, resid.size(1));
  return (resid * (1 - value) + all_patched * value).to(resid.scalar_type());
}

} // namespace autocircuit
