#include "autocircuit/engine/changed_run.h"

#include <ATen/ops/empty.h>
#include <ATen/ops/sub.h>

#include <algorithm>
#include <utility>

#include "autocircuit/engine/node_edges.h"
#include "autocircuit/engine/pass_end.h"
#include "autocircuit/engine/plan.h"
#include "autocircuit/engine/source_buffer.h"
#include "autocircuit/engine/term_rows.h"
#include "autocircuit/ops/head_product.h"

namespace autocircuit {

namespace {

class ChangedRun final : public Hooks {
 public:
  ChangedRun(
      const PatchableModel& model,
      const BaselineView& baseline,
      const MaskFlips& masks,
      bool ends_at_last,
      ChangedValues& values)
      : model_(model),
        baseline_(baseline),
        masks_(masks),
        ends_at_last_(ends_at_last),
        values_(values),
        changes_(values.changes) {
    values_.rows.resize(model.model().hook_names().size());
    values_.of_heads.resize(values_.rows.size());
    values_.outputs = empty_deltas(
        {baseline.patch.size(0),
         baseline.patch.size(1),
         changes_.n_slots,
         baseline.patch.size(3)},
        baseline.patch.options());
  }

  at::Tensor visit(HookId hook, const at::Tensor& value) override {
    at::Tensor x = value;
    const PatchWrapper* w = model_.wrapper(hook);
    if (w != nullptr && w->is_dest()) {
      const std::vector<ChangedRow>& rows = rows_of(hook);
      x = rows.empty() ? base(hook, 0, value)
                       : mix({{hook, &rows[0]}}, value).select(2, 0);
    }
    if (w != nullptr && w->is_src() && wants(hook)) {
      record(hook, *w, x.unsqueeze(2), {0});
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
    SomeHeads some{.live = live_of(modules[0], heads[0])};
    // If all heads change, the stream has what most rows read.
    const bool whole = changes_.from_resid &&
        static_cast<int64_t>(some.live.size()) == heads[0];
    int64_t n_all = 0;
    std::vector<Listed> listed;
    for (const HookId module : modules) {
      n_all += model_.wrapper(module)->rows;
      for (const ChangedRow& row : rows_of(module)) {
        if (!whole || row.from_patched || row.n_terms() > 0) {
          listed.push_back({module, &row});
        }
      }
    }
    std::vector<ChangedRow> rest;
    if (whole && listed.empty()) {
      return {};
    }
    if (whole && !is_few(static_cast<int64_t>(listed.size()), n_all)) {
      listed = with_all_rows(modules, listed, rest);
    }
    const at::Tensor mixed = mix(listed, resid);
    const at::Tensor rows = norm == nullptr ? mixed : (*norm)(mixed);
    HeadInputs inputs{.rows = rows, .normed = norm != nullptr};
    if (static_cast<int64_t>(listed.size()) < n_all) {
      for (const Listed& row : listed) {
        const auto module =
            std::find(modules.begin(), modules.end(), row.hook) -
            modules.begin();
        some.rows.push_back(
            {.module = module,
             .head = row.changed->row,
             .heads = model_.wrapper(row.hook)->rows});
      }
      if (!whole) {
        some.others = projections(modules[0]);
      }
      inputs.some = std::move(some);
    }
    return inputs;
  }

  bool wants(HookId hook) const override {
    const PatchWrapper* w = model_.wrapper(hook);
    if (w == nullptr || !w->is_src() || !runs(hook)) {
      return false;
    }
    bool any = adds_to_baseline(hook, *w);
    for (int64_t s = w->src_start; s < w->src_stop; s++) {
      any = any || slot_of(s) >= 0 || delta_slot_of(s) >= 0;
    }
    return any;
  }

  bool runs(HookId hook) const override {
    return !changes_at(hook).live.empty();
  }

  at::Tensor skipped(HookId hook) const override {
    return changes_.from_resid
        ? wanted(hook, baseline_.values[static_cast<size_t>(hook)])
        : at::Tensor();
  }

  bool ends_at_last() const override {
    return ends_at_last_;
  }

  bool needs_resid() const override {
    return changes_.from_resid;
  }

  at::Tensor head_outputs(
      HookId hook,
      const at::Tensor& z,
      const at::Tensor& weights) override {
    if (!wants(hook)) {
      return {};
    }
    const PatchWrapper& w = *model_.wrapper(hook);
    const std::vector<int64_t> live = live_of(hook, w.src_stop - w.src_start);
    values_.of_heads[static_cast<size_t>(hook)] = z;
    if (adds_to_baseline(hook, w)) {
      const at::Tensor outputs = at::empty(
          {z.size(0), z.size(1), z.size(2), weights.size(2)}, z.options());
      head_product_out(outputs, z, weights);
      record(hook, w, outputs, live);
      return outputs.sum(2) + others(hook, w, live);
    }
    const at::Tensor baseline_z =
        wanted(hook, baseline_.values[static_cast<size_t>(hook)]);
    for (size_t i = 0; i < live.size(); i++) {
      const int64_t source = w.src_start + live[i];
      const auto n = static_cast<int64_t>(i);
      if (delta_slot_of(source) >= 0) {
        const at::Tensor output = slot(hook, delta_slot_of(source));
        head_product_out(
            output.unsqueeze(2), z.narrow(2, n, 1), weights.narrow(0, n, 1));
        record(hook, source, output);
      } else if (slot_of(source) >= 0) {
        // The changes of z alone, so that nothing of the baseline has to be
        // subtracted from outputs, which are d_model / d_head times as large.
        head_product_out(
            slot(hook, slot_of(source)).unsqueeze(2),
            z.narrow(2, n, 1) - baseline_z.narrow(2, live[i], 1),
            weights.narrow(0, n, 1));
      }
    }
    return {};
  }

  void head_outputs(HookId hook, const at::Tensor& value) override {
    if (wants(hook)) {
      const PatchWrapper& w = *model_.wrapper(hook);
      record(hook, w, value, live_of(hook, w.src_stop - w.src_start));
    }
  }

  void read(HookId hook, const at::Tensor& value) override {
    if (model_.model().is_projection(hook)) {
      values_.of_heads[static_cast<size_t>(hook)] = value;
    }
  }

 private:
  /// A row of the destination at a hook point.
  struct Listed {
    HookId hook;
    const ChangedRow* changed;
  };

  const ModelNode& node_at(HookId hook) const {
    return model_.model().node_at(hook);
  }

  const NodeChanges& changes_at(HookId hook) const {
    return changes_.nodes[model_.model().node_index(hook)];
  }

  int64_t slot_of(int64_t source) const {
    return changes_.slots[static_cast<size_t>(source)];
  }

  int64_t delta_slot_of(int64_t source) const {
    return changes_.delta_slots[static_cast<size_t>(source)];
  }

  const std::vector<ChangedRow>& rows_of(HookId hook) const {
    const std::vector<HookId>& inputs = node_at(hook).inputs;
    const auto i = std::find(inputs.begin(), inputs.end(), hook);
    return changes_at(hook).rows[static_cast<size_t>(i - inputs.begin())];
  }

  std::vector<int64_t> live_of(HookId hook, int64_t n) const {
    return live_parts(node_at(hook), changes_at(hook).live, n);
  }

  /// Returns whether some heads run, and the stream needs the others too.
  bool adds_to_baseline(HookId hook, const PatchWrapper& w) const {
    return changes_.from_resid && node_at(hook).heads > 1 &&
        static_cast<int64_t>(changes_at(hook).live.size()) <
        w.src_stop - w.src_start;
  }

  /// Those positions of x that the pass needs at a hook point.
  at::Tensor wanted(HookId hook, const at::Tensor& x) const {
    const std::vector<HookId>& inputs = node_at(hook).inputs;
    const bool is_input = !node_at(hook).projections.empty() &&
        std::find(inputs.begin(), inputs.end(), hook) != inputs.end();
    return ends_at_last_ && !is_input && is_at_end(model_, node_at(hook))
        ? last_positions(x, 1)
        : x;
  }

  /// Returns what the heads that do not run put out.
  at::Tensor others(
      HookId hook,
      const PatchWrapper& w,
      const std::vector<int64_t>& live) const {
    at::Tensor sum;
    for (int64_t s = w.src_start; s < w.src_stop; s++) {
      if (!std::binary_search(live.begin(), live.end(), s - w.src_start)) {
        const at::Tensor output = wanted(hook, baseline_.patch.select(2, s)) -
            wanted(hook, baseline_.delta.select(2, s));
        sum = sum.defined() ? sum.add_(output) : output;
      }
    }
    return sum;
  }

  Projections projections(HookId input) const {
    const std::vector<HookId>& hooks = node_at(input).projections;
    const auto at = [&](size_t i) {
      return baseline_.values[static_cast<size_t>(hooks[i])];
    };
    return {.q = at(0), .k = at(1), .v = at(2)};
  }

  /// Returns what a row differs from by its terms, unless it is from_patched.
  at::Tensor base(HookId hook, int64_t row, const at::Tensor& resid) const {
    return changes_.from_resid
        ? resid
        : wanted(
              hook, baseline_.values[static_cast<size_t>(hook)].select(2, row));
  }

  /// The same rows and, from `rest`, those without terms.
  std::vector<Listed> with_all_rows(
      c10::ArrayRef<HookId> modules,
      const std::vector<Listed>& listed,
      std::vector<ChangedRow>& rest) const {
    std::vector<Listed> all;
    size_t next = 0;
    int64_t n_rest = 0;
    for (const HookId module : modules) {
      n_rest = std::max(n_rest, model_.wrapper(module)->rows);
    }
    for (int64_t row = 0; row < n_rest; row++) {
      rest.push_back({.row = row, .baseline = {}, .changed = {}});
    }
    for (const HookId module : modules) {
      for (int64_t row = 0; row < model_.wrapper(module)->rows; row++) {
        const bool is_next = next < listed.size() &&
            listed[next].hook == module && listed[next].changed->row == row;
        all.push_back(
            is_next ? listed[next++]
                    : Listed{module, &rest[static_cast<size_t>(row)]});
      }
    }
    return all;
  }

  /// [batch, seq, rows, d_model], before their norm.
  at::Tensor mix(const std::vector<Listed>& listed, const at::Tensor& resid) {
    std::vector<TermRow> terms;
    for (const Listed& row : listed) {
      terms.push_back(term_row(row, resid));
    }
    const HookId hook = listed[0].hook;
    const at::Tensor delta = wanted(hook, baseline_.delta);
    const int64_t positions =
        model_.wrapper(hook)->seq_len > 0 ? delta.size(1) : 1;
    const at::Tensor rows =
        term_rows(terms, positions, delta, wanted(hook, values_.outputs));
    for (size_t i = 0; i < listed.size(); i++) {
      values_.rows[static_cast<size_t>(listed[i].hook)].emplace_back(
          listed[i].changed->row, rows.select(2, static_cast<int64_t>(i)));
    }
    return rows;
  }

  /// See Changes for the weights.
  TermRow term_row(const Listed& listed, const at::Tensor& resid) const {
    const PatchWrapper& w = *model_.wrapper(listed.hook);
    const ChangedRow& row = *listed.changed;
    TermRow terms{
        .base = row.from_patched
            ? wanted(
                  listed.hook,
                  baseline_.fully_patched[static_cast<size_t>(listed.hook)])
            : base(listed.hook, row.row, resid),
        .baseline = row.baseline,
        .changed = {},
        .weights = {}};
    for (const int64_t source : row.changed) {
      terms.changed.push_back(
          row.from_patched ? delta_slot_of(source) : slot_of(source));
    }
    const int64_t n_rows = std::max<int64_t>(w.rows, 1);
    const int64_t n_positions = std::max<int64_t>(w.seq_len, 1);
    const int64_t first_position = w.seq_len > 0
        ? n_positions - wanted(listed.hook, baseline_.delta).size(1)
        : 0;
    for (int64_t p = first_position; p < n_positions; p++) {
      const int64_t first =
          w.mask_offset + (p * n_rows + row.row) * w.n_in() - w.in_start;
      for (const int64_t source : row.baseline) {
        const int64_t at = first + source;
        terms.weights.push_back(
            masks_.after[at] - (row.from_patched ? 1 : masks_.before[at]));
      }
      for (const int64_t source : row.changed) {
        terms.weights.push_back(
            row.from_patched ? masks_.after[first + source] - 1 : 1);
      }
    }
    return terms;
  }

  /// Returns where the change or the new delta of a source is left [batch, seq,
  /// d_model].
  at::Tensor slot(HookId hook, int64_t slot) const {
    return wanted(hook, values_.outputs.select(2, slot));
  }

  /// outputs [batch, seq, n, d_model] of these sources of a wrapper.
  void record(
      HookId hook,
      const PatchWrapper& w,
      const at::Tensor& outputs,
      const std::vector<int64_t>& sources) {
    for (size_t i = 0; i < sources.size(); i++) {
      record(
          hook,
          w.src_start + sources[i],
          outputs.select(2, static_cast<int64_t>(i)));
    }
  }

  /// output: [batch, seq, d_model], perhaps where its delta is to be left.
  void record(HookId hook, int64_t source, const at::Tensor& output) {
    const at::Tensor patch = wanted(hook, baseline_.patch.select(2, source));
    if (slot_of(source) >= 0) {
      at::Tensor change = slot(hook, slot_of(source));
      at::sub_out(change, output, patch);
      change.add_(wanted(hook, baseline_.delta.select(2, source)));
    }
    if (delta_slot_of(source) >= 0) {
      at::Tensor delta = slot(hook, delta_slot_of(source));
      at::sub_out(delta, patch, output);
    }
  }

  const PatchableModel& model_;
  const BaselineView& baseline_;
  const MaskFlips& masks_;
  bool ends_at_last_;
  ChangedValues& values_;
  const Changes& changes_;
};

} // namespace

at::Tensor changed_forward(
    const PatchableModel& model,
    ModelInput input,
    const BaselineView& baseline,
    const MaskFlips& masks,
    ChangedValues& values) {
  const int64_t block = values.changes.first_block;
  if (block > 0) {
    input.start_block = block;
    input.is_resid = true;
    input.value =
        baseline.values[static_cast<size_t>(stream_hook(model, block))];
  }
  ChangedRun run(
      model, baseline, masks, ends_at_last(model, input.slice), values);
  return model.model().forward(input, run);
}

} // namespace autocircuit
