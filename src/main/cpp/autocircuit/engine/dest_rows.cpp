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

HeadInputs all_head_inputs(
    const PatchableModel& model,
    c10::ArrayRef<HookId> modules,
    const at::Tensor& resid,
    const Norm* norm,
    bool ends_at_last,
    const std::function<
        at::Tensor(const std::vector<const PatchWrapper*>&, const at::Tensor&)>&
        rows) {
  const auto wrappers = wrappers_together(model, modules);
  if (wrappers.empty()) {
    return {};
  }
  if (ends_at_last && has_last_queries(model, modules)) {
    return {
        .rows = rows({wrappers.begin() + 1, wrappers.end()}, resid),
        .queries = rows({wrappers[0]}, last_positions(resid, 1)),
        .normed = norm != nullptr};
  }
  return {.rows = rows(wrappers, resid), .normed = norm != nullptr};
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
    const at::Tensor& patched,
    double value) {
  if (value == 0) {
    return resid;
  }
  return (value == 1 ? patched : resid * (1 - value) + patched * value)
      .to(resid.scalar_type());
}

} // namespace autocircuit
