#include "autocircuit/engine/compact_run.h"

#include <ATen/core/grad_mode.h>

#include <utility>
#include <vector>

#include "autocircuit/engine/dest_rows.h"
#include "autocircuit/engine/fully_patched.h"

namespace autocircuit {

namespace {

class CompactRun final : public Hooks {
 public:
  /// masks: undefined for a pass that only records.
  CompactRun(
      const PatchableModel& model,
      at::Tensor masks,
      double value,
      c10::intrusive_ptr<CompactSources> sources)
      : model_(model),
        masks_(std::move(masks)),
        value_(value),
        sources_(std::move(sources)) {}

  at::Tensor visit(HookId hook, const at::Tensor& value) override {
    at::Tensor x = value;
    if (const PatchWrapper* w = model_.wrapper(hook)) {
      if (masks_.defined() && w->is_dest()) {
        x = rows({w}, x, nullptr).select(2, 0);
      }
      if (w->is_src()) {
        w->check_sources(1);
        sources_->record(w->src_start, x.unsqueeze(2));
      }
    }
    return x;
  }

  HeadInputs head_inputs(
      c10::ArrayRef<HookId> modules,
      c10::ArrayRef<int64_t> heads,
      const at::Tensor& resid,
      const Norm* norm) override {
    (void)heads;
    if (!masks_.defined()) {
      return {};
    }
    const auto wrappers = wrappers_together(model_, modules);
    if (wrappers.empty()) {
      return {};
    }
    return {.rows = rows(wrappers, resid, norm), .normed = norm != nullptr};
  }

  bool wants(HookId hook) const override {
    const PatchWrapper* w = model_.wrapper(hook);
    return w != nullptr && w->is_src();
  }

  at::Tensor head_outputs(
      HookId hook,
      const at::Tensor& z,
      const at::Tensor& weights) override {
    if (wants(hook)) {
      const PatchWrapper& w = *model_.wrapper(hook);
      w.check_sources(z.size(2));
      sources_->record_heads(w.src_start, z, weights);
    }
    return {};
  }

  void head_outputs(HookId hook, const at::Tensor& value) override {
    if (wants(hook)) {
      const PatchWrapper& w = *model_.wrapper(hook);
      w.check_sources(value.size(2));
      sources_->record(w.src_start, value);
    }
  }

 private:
  at::Tensor rows(
      const std::vector<const PatchWrapper*>& wrappers,
      const at::Tensor& resid,
      const Norm* norm) const {
    const at::Tensor patched = value_ == 0
        ? at::Tensor()
        : plus_constant(model_, *wrappers[0], sources_->patch_sum());
    return equal_rows(
        uniformly_patched(resid, patched, value_),
        values_together(wrappers, masks_, resid.size(1)),
        sources_,
        wrappers[0]->in_start,
        norm);
  }

  const PatchableModel& model_;
  at::Tensor masks_;
  double value_;
  c10::intrusive_ptr<CompactSources> sources_;
};

} // namespace

bool fits_compact_run(const PatchableModel& model, double value) {
  if (value == 0) {
    return true;
  }
  const auto hooks = static_cast<HookId>(model.model().hook_names().size());
  int64_t sources = 0;
  for (HookId hook = 0; hook < hooks; hook++) {
    const PatchWrapper* w = model.wrapper(hook);
    if (w != nullptr && w->is_dest() &&
        (w->in_start != 0 || w->in_stop != sources ||
         !model.reads_only_sources(*w))) {
      return false;
    }
    if (w != nullptr && w->is_src()) {
      sources = w->src_stop;
    }
  }
  return true;
}

CompactSources compact_outputs(
    const PatchableModel& model,
    const ModelInput& input) {
  const at::NoGradGuard no_grad;
  const auto sources = c10::make_intrusive<CompactSources>();
  CompactRun run(model, /*masks=*/{}, 0, sources);
  model.model().forward(input, run);
  return *sources;
}

at::Tensor compact_forward(
    const PatchableModel& model,
    const ModelInput& input,
    const at::Tensor& masks,
    double value,
    c10::intrusive_ptr<CompactSources> patch) {
  const at::AutoGradMode record(true);
  CompactRun run(model, masks, value, std::move(patch));
  return model.model().forward(input, run);
}

} // namespace autocircuit
