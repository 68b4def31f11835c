#include "autocircuit/engine/all_ones_run.h"

#include <ATen/core/grad_mode.h>
#include <ATen/ops/equal.h>
#include <ATen/ops/ones.h>

#include <algorithm>
#include <utility>

namespace autocircuit {

namespace {

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
  all_ones.only_last_counts = false;
  all_ones.input.slice = OutputSlice::kLastSeq;
  auto run = std::make_shared<AllOnesRun>();
  const at::Tensor src_outs =
      recorded_forward(model, all_ones, Recorded::kEqualInputs, run->values)
          .src_outs;
  run->delta = (ones.patch_src_outs - src_outs).permute({1, 2, 0, 3});
  key_ = key;
  run_ = std::move(run);
  return run_;
}

void AllOnesCache::clear() {
  std::shared_ptr<const AllOnesRun> run; // goes when the lock has gone
  const std::lock_guard<std::mutex> lock(mutex_);
  key_.reset();
  run.swap(run_);
}

at::Tensor AllOnesCache::source_outputs(
    const PatchableModel& model,
    const ForwardRequest& request) {
  const at::NoGradGuard no_grad;
  auto run = std::make_shared<AllOnesRun>();
  const at::Tensor src_outs =
      recorded_forward(model, request, Recorded::kEqualInputs, run->values)
          .src_outs;
  const std::lock_guard<std::mutex> lock(mutex_);
  key_ = key_of(model, request.input, src_outs);
  run_ = std::move(run);
  return src_outs;
}

} // namespace autocircuit
