#include "autocircuit/engine/recording_hooks.h"

#include "autocircuit/engine/buffered_run.h"

namespace autocircuit {

namespace {

/// Keeps values of a run by other hooks.
class RecordingHooks final : public Hooks {
 public:
  RecordingHooks(
      const PatchableModel& model,
      Hooks& hooks,
      Recorded what,
      RecordedValues& values)
      : model_(model), hooks_(hooks), what_(what), values_(values) {
    values_.assign(model.model().hook_names().size(), {});
  }

  at::Tensor visit(HookId hook, const at::Tensor& value) override {
    const at::Tensor x = hooks_.visit(hook, value);
    const PatchWrapper* w = model_.wrapper(hook);
    const bool is_dest = w != nullptr && w->is_dest();
    if (what_ == Recorded::kAll) {
      keep(hook, is_dest ? x.unsqueeze(2) : x);
    } else if (is_dest) {
      keep(hook, x);
    }
    return x;
  }

  HeadInputs head_inputs(
      c10::ArrayRef<HookId> modules,
      c10::ArrayRef<int64_t> heads,
      const at::Tensor& resid,
      const Norm* norm) override {
    (void)norm;
    const HeadInputs inputs =
        hooks_.head_inputs(modules, heads, resid, /*norm=*/nullptr);
    TORCH_CHECK(
        !inputs.queries.defined(),
        "a run that is recorded has all positions of its queries");
    const at::Tensor& rows = inputs.rows;
    if (what_ == Recorded::kEqualInputs) {
      const at::Tensor x = rows.defined() ? rows.select(2, 0) : resid;
      for (const HookId module : modules) {
        keep_input(module, x);
      }
      return {.rows = rows.defined() ? x : at::Tensor()};
    }
    int64_t first = 0;
    for (size_t i = 0; i < modules.size(); i++) {
      const PatchWrapper* w = model_.wrapper(modules[i]);
      const int64_t n = w == nullptr ? heads[i] : w->rows;
      keep_input(
          modules[i],
          rows.defined() ? rows.narrow(2, first, n)
                         : resid.unsqueeze(2).expand({-1, -1, n, -1}));
      first += n;
    }
    return {.rows = rows};
  }

  bool wants(HookId hook) const override {
    return hooks_.wants(hook);
  }

  at::Tensor head_outputs(
      HookId hook,
      const at::Tensor& z,
      const at::Tensor& weights) override {
    if (what_ == Recorded::kAll) {
      keep(hook, z);
    }
    return hooks_.head_outputs(hook, z, weights);
  }

  void head_outputs(HookId hook, const at::Tensor& value) override {
    hooks_.head_outputs(hook, value);
  }

  void read(HookId hook, const at::Tensor& value) override {
    if (model_.model().is_projection(hook)) {
      keep(hook, value);
    }
  }

 private:
  void keep(HookId hook, const at::Tensor& x) {
    values_[static_cast<size_t>(hook)] = x;
  }

  void keep_input(HookId hook, const at::Tensor& x) {
    const PatchWrapper* w = model_.wrapper(hook);
    if (w != nullptr && w->is_dest()) {
      keep(hook, x);
    }
  }

  const PatchableModel& model_;
  Hooks& hooks_;
  Recorded what_;
  RecordedValues& values_;
};

} // namespace

ForwardResult recorded_forward(
    const PatchableModel& model,
    const ForwardRequest& request,
    Recorded what,
    RecordedValues& values) {
  return buffered_forward(model, request, [&](Hooks& hooks) {
    RecordingHooks recording(model, hooks, what, values);
    return model.model().forward(request.input, recording);
  });
}

} // namespace autocircuit
