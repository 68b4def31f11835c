#include "autocircuit/engine/incremental_run.h"

#include <ATen/core/grad_mode.h>
#include <ATen/ops/sub.h>

#include <algorithm>

#include "autocircuit/engine/changed_run.h"
#include "autocircuit/engine/node_edges.h"
#include "autocircuit/engine/pass_end.h"
#include "autocircuit/engine/plan.h"
#include "autocircuit/model/precision.h"

namespace autocircuit {

namespace {

// Each kept run adds its rounding to what is known; a whole one begins anew.
constexpr int64_t kKeptInARow = 128;

} // namespace

IncrementalRun::IncrementalRun(
    std::shared_ptr<const PatchableModel> model,
    const ForwardRequest& request)
    : model_(std::move(model)), request_(request) {
  check_request(*model_, request);
  TORCH_CHECK(
      request.context != nullptr && request.input.start_block == 0 &&
          request.context->masks.dim() == 1 &&
          request.context->transform.fn == MaskFn::kNone &&
          request.context->transform.dropout == 0,
      "expected a patched run from the tokens, with masks [n_masks] and "
      "without a mask function");
  context_ = *request.context;
  context_.masks = context_.masks.detach();
  context_.patch_src_outs = context_.patch_src_outs.detach();
  masks_ = context_.masks.to(at::kCPU, at::kDouble).contiguous().clone();
  request_.context = nullptr; // set for each pass: this may not be moved
  request_.want_src_outs = false;
  const at::ScalarType type = context_.patch_src_outs.scalar_type();
  is_incremental_ = has_plans(*model_) && type == accumulation_type(type);
  if (is_incremental_) {
    patch_ = context_.patch_src_outs.permute({1, 2, 0, 3});
  }
  run_whole();
}

at::Tensor IncrementalRun::logits() const {
  const std::lock_guard<std::mutex> lock(mutex_);
  return logits_;
}

at::Tensor IncrementalRun::with(std::vector<int64_t> places, double value) {
  const std::lock_guard<std::mutex> lock(mutex_);
  const at::NoGradGuard no_grad;
  pending_.reset();
  std::sort(places.begin(), places.end());
  const double* before = masks_.const_data_ptr<double>();
  at::Tensor after = masks_.clone();
  std::vector<int64_t> at;
  for (const int64_t place : places) {
    TORCH_CHECK(
        place >= 0 && place < masks_.numel(),
        "expected places of masks below ",
        masks_.numel(),
        ", got ",
        place);
    if (before[place] != value && (at.empty() || at.back() != place)) {
      after.mutable_data_ptr<double>()[place] = value;
      at.push_back(place);
    }
  }
  if (at.empty()) {
    return logits_;
  }
  pending_ = is_incremental_
      ? run_changes(after, {before, after.const_data_ptr<double>(), at})
      : Pending{.masks = after, .logits = plain_logits(after), .values = {}};
  return pending_->logits;
}

void IncrementalRun::keep() {
  const std::lock_guard<std::mutex> lock(mutex_);
  if (!pending_) {
    return;
  }
  const at::NoGradGuard no_grad;
  masks_ = pending_->masks;
  logits_ = pending_->logits;
  if (pending_->values && !pending_->values->changes.from_resid &&
      ++kept_ < kKeptInARow) {
    update(*pending_->values);
  } else if (is_incremental_) {
    run_whole();
  }
  pending_.reset();
}

at::Tensor IncrementalRun::plain_logits(const at::Tensor& masks) const {
  PatchContext context = context_;
  context.masks = masks.to(context_.masks.options());
  ForwardRequest request = request_;
  request.context = &context;
  return forward(*model_, request).logits;
}

void IncrementalRun::run_whole() {
  const at::NoGradGuard no_grad;
  kept_ = 0;
  if (!is_incremental_) {
    logits_ = plain_logits(masks_);
    return;
  }
  PatchContext context = context_;
  context.masks = masks_.to(context_.masks.options());
  context.uniform = one_value(masks_);
  ForwardRequest request = request_;
  request.context = &context;
  request.want_src_outs = true;
  request.only_last_counts = false; // other runs may go on from any position
  ForwardResult result =
      recorded_forward(*model_, request, Recorded::kAll, known_);
  logits_ = std::move(result.logits);
  const at::Tensor outputs = result.src_outs.permute({1, 2, 0, 3});
  delta_ = at::sub(patch_, outputs).contiguous();
  stale_.clear();
  for (const ModelNode& node : model_->model().nodes()) {
    stale_.emplace_back(static_cast<size_t>(node.heads), false);
  }
  stale_sources_.assign(static_cast<size_t>(model_->n_srcs()), false);
  any_stale_ = false;
}

IncrementalRun::Pending IncrementalRun::run_changes(
    const at::Tensor& masks,
    const MaskFlips& flips) {
  ChangedValues values{.changes = changes_from_inputs(*model_, flips)};
  if (values.changes.none()) {
    return {masks, logits_, std::move(values)};
  }
  if (uses_stale(values.changes)) {
    run_whole();
  }
  if (!any_stale_) { // the stream has what did not come to the end
    Changes from_resid = changes_from_resid(*model_, flips);
    if (from_resid.cost < values.changes.cost) {
      values.changes = std::move(from_resid);
    }
  }
  at::Tensor logits = changed_forward(
      *model_, request_.input, {known_, patch_, delta_}, flips, values);
  return {masks, std::move(logits), std::move(values)};
}

bool IncrementalRun::uses_stale(const Changes& changes) const {
  for (size_t i = 0; any_stale_ && i < changes.nodes.size(); i++) {
    for (const int64_t head : changes.nodes[i].live) {
      if (stale_[i][static_cast<size_t>(head)]) {
        return true;
      }
    }
    for (const std::vector<ChangedRow>& rows : changes.nodes[i].rows) {
      for (const ChangedRow& row : rows) {
        for (const int64_t source : row.known) {
          if (stale_sources_[static_cast<size_t>(source)]) {
            return true;
          }
        }
      }
    }
  }
  return false;
}

void IncrementalRun::update(const ChangedValues& values) {
  const std::vector<ModelNode>& nodes = model_->model().nodes();
  at::Tensor change; // of the stream, by the nodes so far
  int64_t block = 0;
  for (size_t i = 0; i < nodes.size(); i++) {
    const ModelNode& node = nodes[i];
    for (; block < std::min(node.block, model_->model().n_layers() - 1);
         block++) {
      if (change.defined()) {
        at::Tensor& stream =
            known_[static_cast<size_t>(stream_hook(*model_, block + 1))];
        stream = stream + change; // not in place: others may hold the same
      }
    }
    for (const int64_t head : values.changes.skipped[i]) {
      stale_[i][static_cast<size_t>(head)] = true;
      for_sources(*model_, node, head, [&](int64_t source) {
        stale_sources_[static_cast<size_t>(source)] = true;
      });
      any_stale_ = true;
    }
    const std::vector<int64_t>& live = values.changes.nodes[i].live;
    if (live.empty()) {
      continue;
    }
    for (const HookId hook : node.inputs) {
      update_input(hook, values);
    }
    for (const HookId hook : node.projections) {
      update_heads(node, hook, live, values);
    }
    for (const HookId hook : node.outputs) {
      update_heads(node, hook, live, values);
    }
    const at::Tensor added = update_outputs(node, live, values);
    if (added.defined() && !is_at_end(*model_, node)) {
      change = change.defined() ? change + added : added;
    }
  }
}

void IncrementalRun::update_input(HookId hook, const ChangedValues& values) {
  at::Tensor& input = known_[static_cast<size_t>(hook)];
  for (const auto& [row, x] : values.rows[static_cast<size_t>(hook)]) {
    if (input.size(2) == 1) {
      input = x.unsqueeze(2); // not in place: others may hold the same tensor
      continue;
    }
    if (input.stride(2) == 0) {
      input = input.contiguous();
    }
    input.select(2, row).copy_(x);
  }
}

void IncrementalRun::update_heads(
    const ModelNode& node,
    HookId hook,
    const std::vector<int64_t>& live,
    const ChangedValues& values) {
  const at::Tensor& ran = values.of_heads[static_cast<size_t>(hook)];
  if (!ran.defined()) {
    return;
  }
  at::Tensor& known = known_[static_cast<size_t>(hook)];
  const int64_t n_heads = node.heads > 1 ? node.heads : ran.size(2);
  const bool all =
      node.heads == 1 || static_cast<int64_t>(live.size()) == n_heads;
  if (all && ran.size(2) == known.size(2)) {
    known = ran;
    return;
  }
  // Of each head that ran; heads that share keys and values have the same.
  const at::Tensor to = last_positions(known, ran.size(1));
  for (int64_t i = 0; i < ran.size(2); i++) {
    const int64_t head = node.heads > 1 ? live[static_cast<size_t>(i)] : i;
    to.select(2, head * known.size(2) / n_heads).copy_(ran.select(2, i));
  }
}

at::Tensor IncrementalRun::update_outputs(
    const ModelNode& node,
    const std::vector<int64_t>& live,
    const ChangedValues& values) {
  const bool last_only =
      ends_at_last(*model_, request_.input.slice) && is_at_end(*model_, node);
  const auto wanted = [&](const at::Tensor& x) {
    return last_only ? last_positions(x, 1) : x;
  };
  int64_t first_slot = values.changes.n_slots;
  int64_t last_slot = -1;
  int64_t n_slots = 0;
  for (const int64_t head : live) {
    for_sources(*model_, node, head, [&](int64_t source) {
      const int64_t slot = values.changes.slots[static_cast<size_t>(source)];
      if (slot < 0) { // nobody reads it, so nobody wrote its change
        stale_sources_[static_cast<size_t>(source)] = true;
        any_stale_ = true;
        return;
      }
      wanted(delta_.select(2, source))
          .sub_(wanted(values.outputs.select(2, slot)));
      first_slot = std::min(first_slot, slot);
      last_slot = std::max(last_slot, slot);
      n_slots++;
    });
  }
  if (n_slots == 0 || node.added < 0) {
    return {};
  }
  TORCH_CHECK(
      last_slot - first_slot + 1 == n_slots,
      "expected the sources of a node one after another");
  const at::Tensor change =
      wanted(values.outputs.narrow(2, first_slot, n_slots)).sum(2);
  at::Tensor& added = known_[static_cast<size_t>(node.added)];
  added = wanted(added) + change;
  return change;
}

} // namespace autocircuit
