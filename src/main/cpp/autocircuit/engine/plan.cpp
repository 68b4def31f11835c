#include "autocircuit/engine/plan.h"

#include <algorithm>
#include <utility>

#include "autocircuit/engine/node_edges.h"

namespace autocircuit {

namespace {

/// Which masks of a destination are not `base` for some example or position:
/// [rows, n_in].
template <typename T>
std::vector<bool> terms_of(
    const PatchWrapper& w,
    const at::Tensor& values,
    double base) {
  const int64_t n_masks = values.size(-1);
  const int64_t n_sets = values.numel() / n_masks;
  const int64_t n = std::max<int64_t>(w.rows, 1) * w.n_in();
  const int64_t positions = std::max<int64_t>(w.seq_len, 1);
  std::vector<bool> terms(static_cast<size_t>(n));
  for (int64_t set = 0; set < n_sets; set++) {
    for (int64_t s = 0; s < positions; s++) {
      const T* masks =
          values.const_data_ptr<T>() + set * n_masks + w.mask_offset + s * n;
      for (int64_t i = 0; i < n; i++) {
        if (masks[i] != static_cast<T>(base)) {
          terms[static_cast<size_t>(i)] = true;
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
      double base)
      : model_(model),
        nodes_(model.model().nodes()),
        start_block_(start_block),
        terms_(model.model().hook_names().size()),
        reads_(static_cast<size_t>(model.n_srcs())),
        present_(static_cast<size_t>(model.n_srcs())) {
    for (const ModelNode& node : nodes_) {
      for (const HookId hook : node.inputs) {
        const PatchWrapper* w = model.wrapper(hook);
        if (w != nullptr) {
          terms_[static_cast<size_t>(hook)] =
              values.scalar_type() == at::kDouble
              ? terms_of<double>(*w, values, base)
              : terms_of<float>(*w, values, base);
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
    return finish(false);
  }

  Plan from_all_ones(bool constant_deltas) {
    // Forwards: what differs from the run with all masks 1.
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
    return finish(true);
  }

 private:
  /// Whether the pass begins behind it.
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
    const std::vector<bool>& terms = terms_[static_cast<size_t>(hook)];
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

  Plan finish(bool from_all_ones) {
    Plan plan;
    plan.from_all_ones = from_all_ones;
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
          if (!from_all_ones && is_few(rows, w->rows)) { // projected once more
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

  /// The rows that live heads read and that have terms.
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
        if (dest.sources.size() > before) {
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
  std::vector<std::vector<bool>> terms_; // by hook: [rows, n_in]
  std::vector<std::vector<bool>> live_;  // by node and head
  std::vector<bool> reads_;              // by source: whether a live row does
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
      if (w == nullptr || !w->is_dest()) {
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
  return Planner(model, values, start_block, /*base=*/0).from_resid();
}

Plan plan_from_all_ones(
    const PatchableModel& model,
    const at::Tensor& values,
    int64_t start_block,
    bool constant_deltas) {
  return Planner(model, values, start_block, /*base=*/1)
      .from_all_ones(constant_deltas);
}

} // namespace autocircuit
