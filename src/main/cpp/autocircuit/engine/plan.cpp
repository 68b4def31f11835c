#include "autocircuit/engine/plan.h"

#include <algorithm>
#include <utility>

#include "autocircuit/engine/node_edges.h"

namespace autocircuit {

namespace {

/// Masks of a destination that count for some example or position: [rows, n_in]
/// those that are not the row's base, [rows] rows based on x1.
struct Terms {
  std::vector<bool> masks;
  std::vector<bool> patched_rows;
};

/// from_fully_patched: whether all rows are based on x1.
template <typename T>
Terms terms_of(
    const PatchWrapper& w,
    const at::Tensor& values,
    bool from_fully_patched) {
  const int64_t n_masks = values.size(-1);
  const int64_t n_sets = values.numel() / n_masks;
  const int64_t rows = std::max<int64_t>(w.rows, 1);
  const int64_t n_in = w.n_in();
  const int64_t positions = std::max<int64_t>(w.seq_len, 1);
  Terms terms;
  terms.masks.resize(static_cast<size_t>(rows * n_in));
  terms.patched_rows.resize(static_cast<size_t>(rows));
  const at::Tensor patched = from_fully_patched
      ? at::Tensor()
      : patched_rows(w.module_values(values)).contiguous();
  const T* is_patched =
      from_fully_patched ? nullptr : patched.const_data_ptr<T>();
  for (int64_t set = 0; set < n_sets; set++) {
    const T* masks = values.const_data_ptr<T>() + set * n_masks + w.mask_offset;
    for (int64_t i = 0; i < positions * rows; i++, masks += n_in) {
      const auto row = static_cast<size_t>(i % rows);
      const T base = from_fully_patched ? 1 : *is_patched++;
      if (base != 0) {
        terms.patched_rows[row] = true;
      }
      for (int64_t s = 0; s < n_in; s++) {
        if (masks[s] != base) {
          terms
              .masks[row * static_cast<size_t>(n_in) + static_cast<size_t>(s)] =
              true;
        }
      }
    }
  }
  return terms;
}

/// Follows terms through the nodes of a model.
class Planner {
 public:
  Planner(
      const PatchableModel& model,
      const at::Tensor& values,
      int64_t start_block,
      bool from_fully_patched)
      : model_(model),
        nodes_(model.model().nodes()),
        start_block_(start_block),
        from_fully_patched_(from_fully_patched),
        terms_(model.model().hook_names().size()),
        reads_(static_cast<size_t>(model.n_srcs())),
        present_(static_cast<size_t>(model.n_srcs())) {
    for (const ModelNode& node : nodes_) {
      for (const HookId hook : node.inputs) {
        const PatchWrapper* w = model.wrapper(hook);
        if (w != nullptr) {
          terms_[static_cast<size_t>(hook)] =
              values.scalar_type() == at::kDouble
              ? terms_of<double>(*w, values, from_fully_patched)
              : terms_of<float>(*w, values, from_fully_patched);
        }
      }
      live_.emplace_back(static_cast<size_t>(node.heads), false);
    }
  }

  Plan from_resid() {
    std::fill(present_.begin(), present_.end(), true);
    for (size_t i = 0; i < nodes_.size(); i++) {
      if (!has_run(nodes_[i])) {
        live_[i].assign(live_[i].size(), true);
      }
    }
    return finish();
  }

  Plan from_fully_patched(bool constant_deltas) {
    // Forwards: the nodes that differ from the fully patched run.
    for (size_t i = 0; i < nodes_.size(); i++) {
      for (size_t head = 0; head < live_[i].size(); head++) {
        const bool ran = has_run(nodes_[i]);
        live_[i][head] = !ran && has_terms(nodes_[i], head);
        for_sources(
            model_, nodes_[i], static_cast<int64_t>(head), [&](int64_t source) {
              present_[static_cast<size_t>(source)] =
                  ran || live_[i][head] || constant_deltas;
            });
      }
    }
    // Backwards: what somebody reads who does.
    for (size_t i = nodes_.size(); i-- > 0;) {
      for (size_t head = 0; head < live_[i].size(); head++) {
        bool read = nodes_[i].outputs.empty();
        for_sources(
            model_, nodes_[i], static_cast<int64_t>(head), [&](int64_t source) {
              read = read || reads_[static_cast<size_t>(source)];
            });
        live_[i][head] = live_[i][head] && read;
        if (live_[i][head]) {
          for_terms(
              nodes_[i], head, [&](size_t source) { reads_[source] = true; });
        }
      }
    }
    return finish();
  }

 private:
  /// Returns whether the pass begins behind it.
  bool has_run(const ModelNode& node) const {
    return node.inputs.empty() || node.block < start_block_;
  }

  /// Sources behind the terms of a head's rows, as far as they are present.
  template <typename Body>
  void for_terms(const ModelNode& node, size_t head, const Body& body) const {
    for (const HookId hook : node.inputs) {
      if (const PatchWrapper* w = model_.wrapper(hook)) {
        const auto [first, last] =
            rows_of_head(node, *w, static_cast<int64_t>(head));
        for (int64_t row = first; row < last; row++) {
          for_row_terms(hook, *w, row, body);
        }
      }
    }
  }

  template <typename Body>
  void for_row_terms(
      HookId hook,
      const PatchWrapper& w,
      int64_t row,
      const Body& body) const {
    const std::vector<bool>& terms = terms_[static_cast<size_t>(hook)].masks;
    for (int64_t i = 0; i < w.n_in(); i++) {
      const auto source = static_cast<size_t>(w.in_start + i);
      if (terms[static_cast<size_t>(row * w.n_in() + i)] && present_[source]) {
        body(source);
      }
    }
  }

  bool has_terms(const ModelNode& node, size_t head) const {
    bool any = false;
    for_terms(node, head, [&](size_t) { any = true; });
    return any;
  }

  Plan finish() {
    Plan plan;
    plan.from_fully_patched = from_fully_patched_;
    plan.dests.resize(terms_.size());
    plan.slots.assign(reads_.size(), -1);
    const auto d_model = static_cast<double>(model_.model().d_model());
    for (size_t i = 0; i < nodes_.size(); i++) {
      const ModelNode& node = nodes_[i];
      std::vector<int64_t> live;
      for (size_t head = 0; head < live_[i].size(); head++) {
        if (live_[i][head]) {
          live.push_back(static_cast<int64_t>(head));
        }
      }
      plan.cost += node.cost * static_cast<double>(live.size()) /
          static_cast<double>(node.heads);
      for (const HookId hook : node.inputs) {
        if (const PatchWrapper* w = model_.wrapper(hook)) {
          DestPlan& dest = plan.dests[static_cast<size_t>(hook)];
          add_rows(dest, node, hook, *w, live);
          plan.cost +=
              kTermCost * d_model * static_cast<double>(dest.sources.size());
          const auto rows = static_cast<int64_t>(dest.rows.size());
          if (!from_fully_patched_ &&
              is_few(rows, w->rows)) { // projected once more
            plan.cost += node.cost / 4 * static_cast<double>(rows) /
                static_cast<double>(w->rows);
          }
        }
      }
      plan.live.push_back(std::move(live));
    }
    for (const DestPlan& dest : plan.dests) {
      for (const int64_t source : dest.sources) {
        plan.slots[static_cast<size_t>(source)] = 0;
      }
    }
    for (int64_t& slot : plan.slots) {
      slot = slot < 0 ? slot : plan.n_slots++;
    }
    return plan;
  }

  /// The rows that live heads read and that are not what the plan is based on.
  void add_rows(
      DestPlan& dest,
      const ModelNode& node,
      HookId hook,
      const PatchWrapper& w,
      const std::vector<int64_t>& live) const {
    int64_t next = 0;
    for (const int64_t head : live) {
      const auto [first, last] = rows_of_head(node, w, head);
      for (int64_t row = std::max(first, next); row < last; row++) {
        const size_t before = dest.sources.size();
        for_row_terms(hook, w, row, [&](size_t source) {
          dest.sources.push_back(static_cast<int64_t>(source));
        });
        const bool patched = !from_fully_patched_ &&
            terms_[static_cast<size_t>(hook)]
                .patched_rows[static_cast<size_t>(row)];
        dest.any_patched = dest.any_patched || patched;
        if (patched || dest.sources.size() > before) {
          dest.rows.push_back(row);
          dest.starts.push_back(static_cast<int64_t>(dest.sources.size()));
        }
      }
      next = std::max(next, last);
    }
  }

  // A term is bound by memory, a product is not.
  static constexpr double kTermCost = 2;

  const PatchableModel& model_;
  const std::vector<ModelNode>& nodes_;
  int64_t start_block_;
  bool from_fully_patched_;
  std::vector<Terms> terms_;            // by hook
  std::vector<std::vector<bool>> live_; // by node and head
  std::vector<bool> reads_;             // by source: whether a live row does
  std::vector<bool> present_; // by source: whether it has a difference
};

} // namespace

bool has_plans(const PatchableModel& model) {
  const std::vector<ModelNode>& nodes = model.model().nodes();
  std::vector<bool> inputs(model.model().hook_names().size());
  std::vector<bool> outputs(inputs.size());
  for (const ModelNode& node : nodes) {
    for (const HookId hook : node.inputs) {
      inputs[static_cast<size_t>(hook)] = true;
      const PatchWrapper* w = model.wrapper(hook);
      if (w == nullptr || !w->is_dest() || !model.reads_only_sources(*w)) {
        return false;
      }
    }
    bool writes = node.outputs.empty();
    for (const HookId hook : node.outputs) {
      outputs[static_cast<size_t>(hook)] = true;
      const PatchWrapper* w = model.wrapper(hook);
      writes = writes || (w != nullptr && w->is_src());
    }
    if (!writes) {
      return false;
    }
  }
  for (size_t hook = 0; hook < inputs.size(); hook++) {
    const PatchWrapper* w = model.wrapper(static_cast<HookId>(hook));
    if (w != nullptr &&
        ((w->is_dest() && !inputs[hook]) || (w->is_src() && !outputs[hook]))) {
      return false;
    }
  }
  return !nodes.empty();
}

Plan plan_from_resid(
    const PatchableModel& model,
    const at::Tensor& values,
    int64_t start_block) {
  return Planner(model, values, start_block, /*from_fully_patched=*/false)
      .from_resid();
}

Plan plan_from_fully_patched(
    const PatchableModel& model,
    const at::Tensor& values,
    int64_t start_block,
    bool constant_deltas) {
  return Planner(model, values, start_block, /*from_fully_patched=*/true)
      .from_fully_patched(constant_deltas);
}

} // namespace autocircuit
