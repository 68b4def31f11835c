#include "autocircuit/engine/incremental_run.h"

#include <ATen/core/grad_mode.h>
#include <ATen/ops/cat.h>
#include <ATen/ops/sub.h>

#include <algorithm>
#include <utility>

#include "autocircuit/engine/changed_run.h"
#include "autocircuit/engine/fully_patched.h"
#include "autocircuit/engine/mask_plans.h"
#include "autocircuit/engine/node_edges.h"
#include "autocircuit/engine/pass_end.h"
#include "autocircuit/engine/plan.h"
#include "autocircuit/engine/shared_positions.h"
#include "autocircuit/memory/rehearsal.h"
#include "autocircuit/model/precision.h"

namespace autocircuit {

namespace {

// Each committed run adds its rounding to the baseline; a whole one starts
// afresh.
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
  request_.context = nullptr; // set for each pass: this may not be moved
  request_.want_src_outs = false;
  // Their owners may write into them.
  request_.input.value = request.input.value.detach().clone();
  if (request.input.attention_mask.defined()) {
    request_.input.attention_mask = request.input.attention_mask.clone();
  }
  const at::ScalarType type = context_.patch_src_outs.scalar_type();
  is_incremental_ = has_plans(*model_) && type == accumulation_type(type);
  if (is_incremental_) {
    shared_logits_ = leave_out_shared_positions(*model_, request_, context_);
  }
  context_.fully_patched = nullptr;
  patch_ = context_.patch_src_outs.permute({1, 2, 0, 3});
  if (is_incremental_) {
    fully_patched_ = fully_patched_inputs(*model_, context_.patch_src_outs);
  }
  version_ = version();
  baseline_ = whole_run(mask_numbers(context_)
                            .to(at::kCPU, at::kDouble, false, /*copy=*/true)
                            .contiguous());
}

uint64_t IncrementalRun::version() const {
  const PrefixCache& prefix = request_.input.prefix;
  return version_of(model_->model().weights().tensors()) + version_of(patch_) +
      version_of(prefix.keys) + version_of(prefix.values);
}

void IncrementalRun::check() const {
  TORCH_CHECK(
      !is_broken_,
      "this incremental run is broken since a failure while it was changed: "
      "begin another one");
  TORCH_CHECK(
      version() == version_,
      "weights, source activations or a prefix were changed in place since "
      "this incremental run began: begin another one");
}

at::Tensor IncrementalRun::own(const at::Tensor& logits) const {
  return shared_logits_.defined() ? at::cat({shared_logits_, logits}, 1)
                                  : logits.clone();
}

at::Tensor IncrementalRun::logits() const {
  const std::lock_guard<std::mutex> lock(mutex_);
  check();
  return own(baseline_.logits);
}

at::Tensor IncrementalRun::with(std::vector<int64_t> places, double value) {
  const std::lock_guard<std::mutex> lock(mutex_);
  const at::NoGradGuard no_grad;
  pending_.reset();
  check();
  std::sort(places.begin(), places.end());
  const double* before = baseline_.masks.const_data_ptr<double>();
  at::Tensor after = baseline_.masks.clone();
  std::vector<int64_t> at;
  for (const int64_t place : places) {
    TORCH_CHECK(
        place >= 0 && place < after.numel(),
        "expected places of masks below ",
        after.numel(),
        ", got ",
        place);
    if (before[place] != value && (at.empty() || at.back() != place)) {
      after.mutable_data_ptr<double>()[place] = value;
      at.push_back(place);
    }
  }
  if (at.empty()) {
    return own(baseline_.logits);
  }
  Pending pending = is_incremental_
      ? run_changes(after, {before, after.const_data_ptr<double>(), at})
      : Pending{.masks = after, .logits = plain_logits(after), .values = {}};
  at::Tensor logits = own(pending.logits);
  pending_ = std::move(pending);
  return logits;
}

void IncrementalRun::commit() {
  const std::lock_guard<std::mutex> lock(mutex_);
  check();
  if (!pending_) {
    return;
  }
  const at::NoGradGuard no_grad;
  if (!is_incremental_) {
    baseline_ = {.masks = pending_->masks, .logits = pending_->logits};
  } else if (
      pending_->values->changes.from_resid ||
      baseline_.kept + 1 >= kKeptInARow) {
    baseline_ = whole_run(pending_->masks);
  } else {
    commit(updated(*pending_));
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

IncrementalRun::Baseline IncrementalRun::whole_run(
    const at::Tensor& masks) const {
  const at::NoGradGuard no_grad;
  if (!is_incremental_) {
    return {.masks = masks, .logits = plain_logits(masks)};
  }
  PatchContext context = context_;
  context.masks = masks.to(context_.masks.options());
  context.uniform = one_value(masks);
  ForwardRequest request = request_;
  request.context = &context;
  request.want_src_outs = true;
  request.only_last_counts = false; // other runs may need any position
  Baseline whole{.masks = masks, .logits = {}};
  ForwardResult result =
      recorded_forward(*model_, request, Recorded::kAll, whole.values);
  whole.logits = std::move(result.logits);
  const at::Tensor outputs = result.src_outs.permute({1, 2, 0, 3});
  const MemoryPartScope deltas(MemoryPart::kDeltas);
  whole.delta = at::sub(patch_, outputs).contiguous();
  for (const ModelNode& node : model_->model().nodes()) {
    whole.stale.emplace_back(static_cast<size_t>(node.heads), false);
  }
  whole.stale_sources.assign(static_cast<size_t>(model_->n_srcs()), false);
  return whole;
}

IncrementalRun::Pending IncrementalRun::run_changes(
    const at::Tensor& masks,
    const MaskFlips& flips) {
  ChangedValues values{.changes = changes_from_inputs(*model_, flips)};
  if (values.changes.none()) {
    return {masks, baseline_.logits, std::move(values)};
  }
  if (uses_stale(values.changes)) {
    baseline_ =
        whole_run(baseline_.masks); // with the same masks: `flips` reads them
  }
  if (!baseline_.any_stale) { // the stream has what did not come to the end
    Changes from_resid = changes_from_resid(*model_, flips);
    if (from_resid.cost < values.changes.cost) {
      values.changes = std::move(from_resid);
    }
  }
  at::Tensor logits = changed_forward(
      *model_,
      request_.input,
      {baseline_.values, patch_, baseline_.delta, fully_patched_},
      flips,
      values);
  return {masks, std::move(logits), std::move(values)};
}

bool IncrementalRun::uses_stale(const Changes& changes) const {
  for (size_t i = 0; baseline_.any_stale && i < changes.nodes.size(); i++) {
    for (const int64_t head : changes.nodes[i].live) {
      if (baseline_.stale[i][static_cast<size_t>(head)]) {
        return true;
      }
    }
    for (const std::vector<ChangedRow>& rows : changes.nodes[i].rows) {
      for (const ChangedRow& row : rows) {
        for (const int64_t source : row.baseline) {
          if (baseline_.stale_sources[static_cast<size_t>(source)]) {
            return true;
          }
        }
      }
    }
  }
  return false;
}

IncrementalRun::Update IncrementalRun::updated(const Pending& pending) const {
  const ChangedValues& values = *pending.values;
  Update update{.next = baseline_};
  Baseline& next = update.next;
  next.masks = pending.masks;
  next.logits = pending.logits;
  next.kept++;
  const std::vector<ModelNode>& nodes = model_->model().nodes();
  at::Tensor change; // of the stream, by the nodes so far
  int64_t block = 0;
  for (size_t i = 0; i < nodes.size(); i++) {
    const ModelNode& node = nodes[i];
    for (; block < std::min(node.block, model_->model().n_layers() - 1);
         block++) {
      if (change.defined()) {
        at::Tensor& stream =
            next.values[static_cast<size_t>(stream_hook(*model_, block + 1))];
        stream = stream + change;
      }
    }
    for (const int64_t head : values.changes.skipped[i]) {
      next.stale[i][static_cast<size_t>(head)] = true;
      for_sources(*model_, node, head, [&](int64_t source) {
        next.stale_sources[static_cast<size_t>(source)] = true;
      });
      next.any_stale = true;
    }
    const std::vector<int64_t>& live = values.changes.nodes[i].live;
    if (live.empty()) {
      continue;
    }
    for (const HookId hook : node.inputs) {
      update_input(hook, values, update);
    }
    for (const HookId hook : node.projections) {
      update_heads(node, hook, live, values, update);
    }
    for (const HookId hook : node.outputs) {
      update_heads(node, hook, live, values, update);
    }
    const at::Tensor added = update_outputs(node, live, values, update);
    if (added.defined() && !is_at_end(*model_, node)) {
      change = change.defined() ? change + added : added;
    }
  }
  return update;
}

void IncrementalRun::update_input(
    HookId hook,
    const ChangedValues& values,
    Update& update) const {
  at::Tensor& input = update.next.values[static_cast<size_t>(hook)];
  for (const auto& [row, x] : values.rows[static_cast<size_t>(hook)]) {
    if (input.size(2) == 1) {
      input = x.unsqueeze(2);
      continue;
    }
    if (input.stride(2) == 0) {
      input = input.contiguous();
    }
    update.writes.push_back({input.select(2, row), x});
  }
}

void IncrementalRun::update_heads(
    const ModelNode& node,
    HookId hook,
    const std::vector<int64_t>& live,
    const ChangedValues& values,
    Update& update) const {
  const at::Tensor& ran = values.of_heads[static_cast<size_t>(hook)];
  if (!ran.defined()) {
    return;
  }
  at::Tensor& baseline = update.next.values[static_cast<size_t>(hook)];
  const int64_t n_heads = node.heads > 1 ? node.heads : ran.size(2);
  const bool all =
      node.heads == 1 || static_cast<int64_t>(live.size()) == n_heads;
  if (all && ran.size(2) == baseline.size(2)) {
    baseline = ran;
    return;
  }
  // Of each head that ran; heads that share keys and values have the same.
  const at::Tensor to = last_positions(baseline, ran.size(1));
  for (int64_t i = 0; i < ran.size(2); i++) {
    const int64_t head = node.heads > 1 ? live[static_cast<size_t>(i)] : i;
    update.writes.push_back(
        {to.select(2, head * baseline.size(2) / n_heads), ran.select(2, i)});
  }
}

at::Tensor IncrementalRun::update_outputs(
    const ModelNode& node,
    const std::vector<int64_t>& live,
    const ChangedValues& values,
    Update& update) const {
  const bool last_only =
      ends_at_last(*model_, request_.input.slice) && is_at_end(*model_, node);
  const auto wanted = [&](const at::Tensor& x) {
    return last_only ? last_positions(x, 1) : x;
  };
  Baseline& next = update.next;
  at::Tensor change;
  for (const int64_t head : live) {
    for_sources(*model_, node, head, [&](int64_t source) {
      const auto output = [&](const std::vector<int64_t>& slots) {
        const int64_t slot = slots[static_cast<size_t>(source)];
        return slot < 0 ? at::Tensor() : wanted(values.outputs.select(2, slot));
      };
      const at::Tensor changed = output(values.changes.slots);
      const at::Tensor delta = output(values.changes.delta_slots);
      if (!changed.defined() && !delta.defined()) {
        // Nobody reads it, so nobody wrote its change.
        next.stale_sources[static_cast<size_t>(source)] = true;
        next.any_stale = true;
        return;
      }
      const at::Tensor baseline = wanted(next.delta.select(2, source));
      update.writes.push_back(
          {baseline,
           delta.defined() ? delta : changed,
           /*subtracts=*/!delta.defined()});
      const at::Tensor added = changed.defined() ? changed : baseline - delta;
      change = change.defined() ? change + added : added;
    });
  }
  if (!change.defined() || node.added < 0) {
    return {};
  }
  at::Tensor& added = next.values[static_cast<size_t>(node.added)];
  added = wanted(added) + change;
  return change;
}

void IncrementalRun::commit(Update update) {
  // Nothing of this needs memory for tensors.
  is_broken_ = true;
  for (const auto& [to, from, subtracts] : update.writes) {
    subtracts ? to.sub_(from) : to.copy_(from);
  }
  baseline_ = std::move(update.next);
  is_broken_ = false;
}

} // namespace autocircuit
