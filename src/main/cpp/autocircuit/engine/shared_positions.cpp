#include "autocircuit/engine/shared_positions.h"

#include <ATen/core/grad_mode.h>
#include <ATen/ops/cat.h>

#include <algorithm>
#include <utility>

#include "autocircuit/engine/fully_patched_run.h"

namespace autocircuit {

namespace {

// Hook points of the keys and the values of all blocks, in turn.
std::vector<std::string> key_and_value_hooks(const Model& model) {
  std::vector<std::string> names;
  for (const ModelNode& node : model.nodes()) {
    for (size_t i = 1; i < node.projections.size(); i++) {
      names.push_back(
          model.hook_names()[static_cast<size_t>(node.projections[i])]);
    }
  }
  return names;
}

// The entries of a prefix, if there is one, and those behind it.
at::Tensor appended(
    const std::vector<at::Tensor>& prefix,
    size_t block,
    const at::Tensor& entry) {
  return prefix.empty()
      ? entry
      : at::cat({prefix[block].expand({entry.size(0), -1, -1, -1}), entry}, 1);
}

} // namespace

at::Tensor leave_out_shared_positions(
    const PatchableModel& model,
    ForwardRequest& request,
    PatchContext& context) {
  const auto& wrappers = model.wrappers();
  if (context.fully_patched == nullptr ||
      !model.model().can_begin_with_prefix() ||
      request.input.attention_mask.defined() ||
      std::any_of(wrappers.begin(), wrappers.end(), [](const auto& w) {
        return w.seq_len > 0;
      })) {
    return {};
  }
  const int64_t shared = context.fully_patched->shared_positions(
      model, request.input, context.patch_src_outs);
  if (shared == 0) {
    return {};
  }
  const at::NoGradGuard no_grad;
  const int64_t left = request.input.value.size(1) - shared;
  ForwardRequest plain;
  plain.reads = key_and_value_hooks(model.model());
  plain.input = request.input;
  plain.input.value = request.input.value.narrow(1, 0, shared);
  ForwardResult result = forward(model, plain);

  PrefixCache prefix;
  for (size_t i = 0; i < result.reads.size(); i += 2) {
    const PrefixCache& before = request.input.prefix;
    prefix.keys.push_back(appended(before.keys, i / 2, result.reads[i]));
    prefix.values.push_back(
        appended(before.values, i / 2, result.reads[i + 1]));
  }
  request.input.prefix = std::move(prefix);
  request.input.value = request.input.value.narrow(1, shared, left);
  context.patch_src_outs = context.patch_src_outs.narrow(2, shared, left);
  if (request.input.slice == OutputSlice::kLastSeq) {
    return {};
  }
  request.input.slice = OutputSlice::kAll; // of those that are left
  return result.logits;
}

} // namespace autocircuit
