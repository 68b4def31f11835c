#include "autocircuit/engine/all_ones_run.h"

#include <ATen/core/grad_mode.h>
#include <ATen/ops/equal.h>
#include <ATen/ops/ones.h>

#include <algorithm>
#include <utility>

#include "autocircuit/engine/buffered_run.h"

namespace autocircuit {

namespace {

/// Keeps what an AllOnesRun has of a run by other hooks.
class RecordingHooks final : public Hooks {
 public:
  RecordingHooks(const PatchableModel& model, Hooks& hooks, AllOnesRun& run)
      : model_(model), hooks_(hooks), run_(run) {
    const size_t n_hooks = model.model().hook_names().size();
    run_.values.resize(n_hooks);
    projections_.resize(n_hooks, false);
    for (const ModelNode& node : model.model().nodes()) {
      for (const HookId hook : node.projections) {
        projections_[static_cast<size_t>(hook)] = true;
      }
    }
  }

  at::Tensor visit(HookId hook, const at::Tensor& value) override {
    const at::Tensor x = hooks_.visit(hook, value);
    keep_input(hook, x);
    return x;
  }

  HeadInputs head_inputs(
      c10::ArrayRef<HookId> modules,
      c10::ArrayRef<int64_t> heads,
      const at::Tensor& resid,
      const Norm* norm) override {
    (void)norm;
    const at::Tensor rows =
        hooks_.head_inputs(modules, heads, resid, /*norm=*/nullptr).rows;
    // All masks are one value, so all rows are equal.
    const at::Tensor x = rows.defined() ? rows.select(2, 0) : resid;
    for (const HookId module : modules) {
      keep_input(module, x);
    }
    return {.rows = rows.defined() ? x : at::Tensor()};
  }

  bool wants(HookId hook) const override {
    return hooks_.wants(hook);
  }

  at::Tensor head_outputs(
      HookId hook,
      const at::Tensor& z,
      const at::Tensor& weights) override {
    return hooks_.head_outputs(hook, z, weights);
  }

  void head_outputs(HookId hook, const at::Tensor& value) override {
    hooks_.head_outputs(hook, value);
  }

  void read(HookId hook, const at::Tensor& value) override {
    if (projections_[static_cast<size_t>(hook)]) {
      run_.values[static_cast<size_t>(hook)] = value;
    }
  }

 private:
  void keep_input(HookId hook, const at::Tensor& x) {
    const PatchWrapper* w = model_.wrapper(hook);
    if (w != nullptr && w->is_dest()) {
      run_.values[static_cast<size_t>(hook)] = x;
    }
  }

  const PatchableModel& model_;
  Hooks& hooks_;
  AllOnesRun& run_;
  std::vector<bool> projections_; // by hook
};

ForwardResult record_run(
    const PatchableModel& model,
    const ForwardRequest& request,
    AllOnesRun& run) {
  return buffered_forward(model, request, [&](Hooks& hooks) {
    RecordingHooks recording(model, hooks, run);
    return model.model().forward(request.input, recording);
  });
}

uint64_t version_of(const at::Tensor& x) {
  return x.is_inference() ? 0 : static_cast<uint64_t>(x._version());
}

bool same(const at::Tensor& a, const at::Tensor& b) {
  return a.is_same(b) ||
      (a.defined() && b.defined() && a.sizes() == b.sizes() &&
       a.dtype() == b.dtype() && at::equal(a, b));
}

} // namespace

AllOnesCache::Key AllOnesCache::key_of(
    const PatchableModel& model,
    const ModelInput& input,
    const at::Tensor& activations) {
  uint64_t version = version_of(activations);
  for (const at::Tensor& weight : model.model().weights().tensors()) {
    version += version_of(weight);
  }
  return {
      .model = model.id(),
      .version = version,
      .sizes = input.value.sizes().slice(0, 2).vec(),
      .attention_mask = input.attention_mask,
      .prefix = input.prefix.empty() ? at::Tensor() : input.prefix.keys.back()};
}

bool AllOnesCache::matches(const Key& key) const {
  return key_ && key_->model == key.model && key_->version == key.version &&
      key_->sizes == key.sizes &&
      same(key_->attention_mask, key.attention_mask) &&
      key_->prefix.is_same(key.prefix);
}

std::shared_ptr<const AllOnesRun> AllOnesCache::find(
    const PatchableModel& model,
    const ForwardRequest& request) const {
  const Key key = key_of(model, request.input, request.context->patch_src_outs);
  const std::lock_guard<std::mutex> lock(mutex_);
  return matches(key) ? run_ : nullptr;
}

std::shared_ptr<const AllOnesRun> AllOnesCache::get(
    const PatchableModel& model,
    const ForwardRequest& request) {
  const Key key = key_of(model, request.input, request.context->patch_src_outs);
  // Who comes second waits for the first one's run.
  const std::lock_guard<std::mutex> lock(mutex_);
  if (matches(key)) {
    return run_;
  }
  const at::NoGradGuard no_grad;
  const PatchContext ones{
      .patch_src_outs = request.context->patch_src_outs.detach(),
      .masks = at::ones({model.n_masks()}, request.context->masks.options()),
      .transform = {},
      .uniform = 1};
  ForwardRequest all_ones = request;
  all_ones.context = &ones;
  all_ones.want_src_outs = true;
  all_ones.input.slice = OutputSlice::kLastSeq;
  auto run = std::make_shared<AllOnesRun>();
  const at::Tensor src_outs = record_run(model, all_ones, *run).src_outs;
  run->delta = (ones.patch_src_outs - src_outs).permute({1, 2, 0, 3});
  key_ = key;
  run_ = std::move(run);
  return run_;
}

at::Tensor AllOnesCache::source_outputs(
    const PatchableModel& model,
    const ForwardRequest& request) {
  const at::NoGradGuard no_grad;
  auto run = std::make_shared<AllOnesRun>();
  const at::Tensor src_outs = record_run(model, request, *run).src_outs;
  const std::lock_guard<std::mutex> lock(mutex_);
  key_ = key_of(model, request.input, src_outs);
  run_ = std::move(run);
  return src_outs;
}

} // namespace autocircuit
