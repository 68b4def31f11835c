#include "autocircuit/engine/planned_run.h"

#include <ATen/core/grad_mode.h>
#include <ATen/ops/sub.h>

#include <algorithm>
#include <utility>

#include "autocircuit/engine/fully_patched.h"
#include "autocircuit/engine/fully_patched_run.h"
#include "autocircuit/engine/mask_plans.h"
#include "autocircuit/engine/masked_rows.h"
#include "autocircuit/engine/node_edges.h"
#include "autocircuit/engine/pass_end.h"
#include "autocircuit/engine/planned_rows.h"
#include "autocircuit/engine/source_buffer.h"
#include "autocircuit/memory/rehearsal.h"
#include "autocircuit/model/attention.h"
#include "autocircuit/model/precision.h"
#include "autocircuit/ops/head_product.h"

namespace autocircuit {

namespace {

class PlannedRun final : public Hooks {
 public:
  PlannedRun(
      const PatchableModel& model,
      const ForwardRequest& request,
      const at::Tensor& values,
      const Plan& plan,
      std::shared_ptr<const FullyPatchedRun> fully_patched)
      : model_(model),
        plan_(plan),
        fully_patched_(std::move(fully_patched)),
        ends_at_last_(autocircuit::ends_at_last(model, request.input.slice)),
        patch_(request.context->patch_src_outs.permute({1, 2, 0, 3})),
        patched_(model, request.context->patch_src_outs),
        delta_(empty_deltas(
            {patch_.size(0), patch_.size(1), plan.n_slots, patch_.size(3)},
            patch_.options().dtype(stored_type(patch_, /*is_kept=*/false)))),
        rows_(plan, values, delta_) {
    if (plan.from_fully_patched && fully_patched_->delta.defined()) {
      // Those that do not run differ by what they differ there.
      for (size_t s = 0; s < plan.slots.size(); s++) {
        if (plan.slots[s] >= 0) {
          delta_.select(2, plan.slots[s])
              .copy_(fully_patched_->delta.select(2, static_cast<int64_t>(s)));
        }
      }
    }
    if (request.start_src_outs.defined()) {
      const at::Tensor given = request.start_src_outs.permute({1, 2, 0, 3});
      for (const ModelNode& node : model.model().nodes()) {
        if (node.inputs.empty() || node.block < request.input.start_block) {
          record_given(node, given);
        }
      }
    }
  }

  at::Tensor visit(HookId hook, const at::Tensor& value) override {
    at::Tensor x = value;
    if (const PatchWrapper* w = model_.wrapper(hook)) {
      if (w->is_dest()) {
        const PlannedDest dest{w, &dest_plan(hook)};
        x = base(hook, value);
        if (!dest.plan->rows.empty()) {
          x = rows_({dest}, x, patched({dest}, x), /*norm=*/nullptr).squeeze(2);
        }
        x = x.to(patch_.scalar_type());
      }
      if (w->is_src()) {
        w->check_sources(1);
        record(w->src_start, x.unsqueeze(2));
      }
    }
    return x;
  }

  HeadInputs head_inputs(
      c10::ArrayRef<HookId> modules,
      c10::ArrayRef<int64_t> heads,
      const at::Tensor& resid,
      const Norm* norm) override {
    if (model_.wrapper(modules[0]) == nullptr) {
      return {};
    }
    std::vector<PlannedDest> dests;
    SomeHeads some{.live = live_of(modules[0], heads[0])};
    int64_t all_rows = 0;
    for (size_t i = 0; i < modules.size(); i++) {
      const PatchWrapper* w = model_.wrapper(modules[i]);
      dests.push_back({w, &dest_plan(modules[i])});
      all_rows += w->rows;
      for (const int64_t row : dests.back().plan->rows) {
        some.rows.push_back(
            {.module = static_cast<int64_t>(i), .head = row, .heads = w->rows});
      }
    }
    const auto listed = static_cast<int64_t>(some.rows.size());
    const at::Tensor x = base(modules[0], resid);
    if (!plan_.from_fully_patched && listed == 0) {
      return {};
    }
    if (listed == all_rows ||
        (!plan_.from_fully_patched && !is_few(listed, all_rows))) {
      std::vector<DestPlan> whole;
      for (PlannedDest& dest : dests) {
        whole.push_back(with_all_rows(dest));
      }
      for (size_t i = 0; i < dests.size(); i++) {
        dests[i].plan = &whole[i];
      }
      HeadInputs inputs;
      inputs.normed = norm != nullptr;
      if (ends_at_last_ && has_last_queries(model_, modules)) {
        const at::Tensor last = last_positions(x, 1);
        inputs.queries =
            rows_({dests[0]}, last, patched({dests[0]}, last), norm);
        dests.erase(dests.begin());
      }
      inputs.rows = rows_(dests, x, patched(dests, x), norm);
      return inputs;
    }
    if (plan_.from_fully_patched) {
      some.others = projections(modules[0]);
    }
    return {
        .rows = listed > 0 ? rows_(dests, x, patched(dests, x), norm)
                           : at::Tensor(),
        .normed = norm != nullptr,
        .some = std::move(some)};
  }

  bool wants(HookId hook) const override {
    const PatchWrapper* w = model_.wrapper(hook);
    return w != nullptr && w->is_src() && slots_of(*w).first > 0;
  }

  bool runs(HookId hook) const override {
    return !live_at(hook).empty();
  }

  bool ends_at_last() const override {
    return ends_at_last_;
  }

  bool needs_resid() const override {
    return !plan_.from_fully_patched;
  }

  at::Tensor head_outputs(
      HookId hook,
      const at::Tensor& z,
      const at::Tensor& weights) override {
    if (!wants(hook)) {
      return {};
    }
    const PatchWrapper& w = *model_.wrapper(hook);
    const auto [n, first] = slots_of(w);
    const int64_t heads = w.src_stop - w.src_start;
    if (z.scalar_type() != accumulation_type(z.scalar_type())) {
      record_some(w, head_product(z, weights), live_of(hook, heads));
      return {};
    }
    if (n == heads && z.size(2) == heads) {
      const at::Tensor rows =
          last_positions(delta_.narrow(2, first, n), z.size(1));
      head_product_out(rows, z, weights);
      return sum_rows(
                 rows,
                 last_positions(patch_.narrow(2, w.src_start, n), z.size(1)))
          .to(z.scalar_type());
    }
    const std::vector<int64_t> live = live_of(hook, heads);
    for (size_t i = 0; i < live.size(); i++) {
      const int64_t source = w.src_start + live[i];
      const int64_t slot = plan_.slots[static_cast<size_t>(source)];
      if (slot >= 0) {
        const auto n_th = static_cast<int64_t>(i);
        at::Tensor row = last_positions(delta_.narrow(2, slot, 1), z.size(1));
        head_product_out(row, z.narrow(2, n_th, 1), weights.narrow(0, n_th, 1));
        at::sub_out(
            row, last_positions(patch_.narrow(2, source, 1), z.size(1)), row);
      }
    }
    return {};
  }

  void head_outputs(HookId hook, const at::Tensor& value) override {
    if (wants(hook)) {
      const PatchWrapper& w = *model_.wrapper(hook);
      record_some(w, value, live_of(hook, w.src_stop - w.src_start));
    }
  }

 private:
  const DestPlan& dest_plan(HookId hook) const {
    return plan_.dests[static_cast<size_t>(hook)];
  }

  /// Returns what the rows of a destination have in common.
  at::Tensor base(HookId hook, const at::Tensor& resid) const {
    if (!plan_.from_fully_patched) {
      return resid;
    }
    const at::Tensor& x = fully_patched_->values[static_cast<size_t>(hook)];
    const ModelNode& node = node_at(hook);
    const bool only_last =
        ends_at_last_ && is_at_end(model_, node) && node.projections.empty();
    return only_last ? last_positions(x, 1) : x;
  }

  /// Returns what takes the place of the stream, where some rows are based on
  /// it.
  at::Tensor patched(
      const std::vector<PlannedDest>& dests,
      const at::Tensor& base) {
    const bool any =
        std::any_of(dests.begin(), dests.end(), [](const PlannedDest& dest) {
          return dest.plan->any_patched;
        });
    return any ? patched_.input(*dests[0].wrapper, base.size(1)) : at::Tensor();
  }

  const ModelNode& node_at(HookId hook) const {
    return model_.model().node_at(hook);
  }

  const std::vector<int64_t>& live_at(HookId hook) const {
    return plan_.live[model_.model().node_index(hook)];
  }

  std::vector<int64_t> live_of(HookId hook, int64_t n) const {
    return live_parts(node_at(hook), live_at(hook), n);
  }

  Projections projections(HookId input) const {
    const std::vector<HookId>& hooks = node_at(input).projections;
    const auto at = [&](size_t i) {
      return fully_patched_->values[static_cast<size_t>(hooks[i])];
    };
    return {.q = at(0), .k = at(1), .v = at(2)};
  }

  /// Returns how many sources of a wrapper somebody reads, and the first one's
  /// slot.
  std::pair<int64_t, int64_t> slots_of(const PatchWrapper& w) const {
    int64_t n = 0;
    int64_t first = -1;
    for (int64_t s = w.src_start; s < w.src_stop; s++) {
      const int64_t slot = plan_.slots[static_cast<size_t>(s)];
      if (slot >= 0) {
        first = n == 0 ? slot : first;
        n++;
      }
    }
    return {n, first};
  }

  /// The sources of a node that has run before.
  void record_given(const ModelNode& node, const at::Tensor& src_outs) {
    for (const HookId hook : node.outputs) {
      const PatchWrapper* w = model_.wrapper(hook);
      if (w != nullptr && w->is_src()) {
        record(
            w->src_start,
            src_outs.narrow(2, w->src_start, w->src_stop - w->src_start));
      }
    }
  }

  /// outputs [batch, seq, n, d_model] of the sources from start on, or of the
  /// last position.
  void record(int64_t start, const at::Tensor& outputs) {
    const int64_t positions = outputs.size(1);
    const auto slot_of = [&](int64_t i) {
      return i < outputs.size(2) ? plan_.slots[static_cast<size_t>(start + i)]
                                 : -1;
    };
    for (int64_t i = 0; i < outputs.size(2);) {
      const int64_t slot = slot_of(i);
      int64_t n = 1; // sources whose slots lie one after another
      while (slot >= 0 && slot_of(i + n) == slot + n) {
        n++;
      }
      if (slot >= 0) {
        at::Tensor rows = last_positions(delta_.narrow(2, slot, n), positions);
        at::sub_out(
            rows,
            last_positions(patch_.narrow(2, start + i, n), positions),
            outputs.narrow(2, i, n));
      }
      i += n;
    }
  }

  /// The same of the sources of a wrapper that run.
  void record_some(
      const PatchWrapper& w,
      const at::Tensor& outputs,
      const std::vector<int64_t>& live) {
    for (size_t i = 0; i < live.size(); i++) {
      record(
          w.src_start + live[i], outputs.narrow(2, static_cast<int64_t>(i), 1));
    }
  }

  const PatchableModel& model_;
  const Plan& plan_;
  std::shared_ptr<const FullyPatchedRun> fully_patched_;
  bool ends_at_last_;
  at::Tensor patch_; // [batch, seq, n_srcs, d_model]
  FullyPatched patched_;
  at::Tensor delta_; // patch - current output [batch, seq, slots, d_model]
  PlannedRows rows_;
};

// The share of the other's cost that a plan from the fully patched run may
// have.
constexpr double kWorthIt = 0.8;

/// The cheaper plan, and the fully patched run if it needs that.
struct Choice {
  std::shared_ptr<const Plan> plan;
  std::shared_ptr<const FullyPatchedRun> fully_patched;
};

Choice choose(
    const PatchableModel& model,
    const ForwardRequest& request,
    const at::Tensor& values) {
  const int64_t start_block = request.input.start_block;
  const PatchContext& context = *request.context;
  const auto planned = [&](MaskPlans::Kind kind, const auto& make) {
    return context.plans == nullptr
        ? std::make_shared<const Plan>(make())
        : context.plans->get(
              {model.id(), context.transform.fn, start_block, kind}, make);
  };
  const auto from_resid = [&] {
    return plan_from_resid(model, values, start_block);
  };
  const auto from_fully_patched = [&](bool constant_deltas) {
    return plan_from_fully_patched(model, values, start_block, constant_deltas);
  };
  if (context.fully_patched == nullptr) {
    return {planned(MaskPlans::Kind::kFromResid, from_resid), nullptr};
  }
  // The same choice whether that run is there or not, so that results do not
  // depend on what ran before, not even in their last digits.
  auto plan = request.policy == PlanPolicy::kFullyPatched
      ? planned(
            MaskPlans::Kind::kFullyPatched,
            [&] { return from_fully_patched(false); })
      : planned(MaskPlans::Kind::kCheaper, [&] {
          Plan fully_patched = from_fully_patched(false);
          Plan resid = from_resid();
          return fully_patched.cost > kWorthIt * resid.cost ? resid
                                                            : fully_patched;
        });
  if (!plan->from_fully_patched) {
    return {std::move(plan), nullptr};
  }
  std::shared_ptr<const FullyPatchedRun> run =
      context.fully_patched->get(model, request);
  if (run->delta.defined()) {
    plan = planned(MaskPlans::Kind::kConstantDeltas, [&] {
      return from_fully_patched(true);
    });
  }
  return {std::move(plan), std::move(run)};
}

} // namespace

std::optional<ForwardResult> planned_forward(
    const PatchableModel& model,
    const ForwardRequest& request) {
  const PatchContext* context = request.context;
  if (context == nullptr || request.want_src_outs ||
      at::GradMode::is_enabled() || !mask_numbers(*context).is_cpu() ||
      context->transform.fn == MaskFn::kHardConcrete ||
      context->transform.dropout > 0 || !has_plans(model)) {
    return std::nullopt;
  }
  const auto values_of = [&](const at::Tensor& masks) {
    return mask_values(
               masks,
               masks.dim() == 2,
               request.input.value.size(0),
               context->transform)
        .contiguous();
  };
  const at::Tensor values = values_of(mask_numbers(*context));
  const Choice choice = choose(model, request, values);
  PlannedRun run(
      model,
      request,
      is_rehearsed(context->masks) ? values_of(context->masks) : values,
      *choice.plan,
      choice.fully_patched);
  ForwardResult result;
  result.logits = model.model().forward(request.input, run);
  return result;
}

} // namespace autocircuit
