#include "autocircuit/engine/changes.h"

#include <algorithm>
#include <set>
#include <utility>

#include "autocircuit/engine/node_edges.h"

namespace autocircuit {

namespace {

class ChangeFinder {
 public:
  ChangeFinder(const PatchableModel& model, const MaskFlips& flips)
      : model_(model),
        nodes_(model.model().nodes()),
        flips_(flips),
        is_changed_(static_cast<size_t>(model.n_srcs())) {
    for (const ModelNode& node : nodes_) {
      rows_.emplace_back();
      live_.emplace_back(static_cast<size_t>(node.heads), false);
      for (size_t i = 0; i < node.inputs.size(); i++) {
        rows_.back().push_back(changed_rows(wrapper(node, i)));
      }
      for (size_t head = 0; head < live_.back().size(); head++) {
        if (reads_change(node, head)) {
          live_.back()[head] = true;
          for_sources(
              model, node, static_cast<int64_t>(head), [&](int64_t source) {
                is_changed_[static_cast<size_t>(source)] = true;
                changed_.push_back(source);
              });
        }
      }
    }
  }

  Changes from_inputs() {
    // Backwards: what somebody reads who reaches the end.
    std::vector<bool> is_read(is_changed_.size());
    std::vector<std::vector<int64_t>> skipped(nodes_.size());
    for (size_t i = nodes_.size(); i-- > 0;) {
      for (size_t head = 0; head < live_[i].size(); head++) {
        if (!live_[i][head]) {
          continue;
        }
        bool read = nodes_[i].outputs.empty();
        for_sources(
            model_, nodes_[i], static_cast<int64_t>(head), [&](int64_t source) {
              read = read || is_read[static_cast<size_t>(source)];
            });
        if (!read) {
          live_[i][head] = false;
          skipped[i].push_back(static_cast<int64_t>(head));
          continue;
        }
        for (size_t input = 0; input < nodes_[i].inputs.size(); input++) {
          const PatchWrapper& w = wrapper(nodes_[i], input);
          const auto [first, last] =
              rows_of_head(nodes_[i], w, static_cast<int64_t>(head));
          for (int64_t row = first; row < last; row++) {
            for_changed(w, row, [&](int64_t source) {
              is_read[static_cast<size_t>(source)] = true;
            });
          }
        }
      }
    }
    Changes changes = finish(false, [&](const PatchWrapper& w, int64_t row) {
      std::set<int64_t> baseline; // once, if it is flipped at several positions
      for (const int64_t at : flips_in(w)) {
        const auto [of_row, source] = place(w, at);
        if (of_row == row) {
          baseline.insert(source);
        }
      }
      ChangedRow changed{
          .row = row, .baseline = {baseline.begin(), baseline.end()}};
      for_changed(
          w, row, [&](int64_t source) { changed.changed.push_back(source); });
      return changed;
    });
    changes.skipped = std::move(skipped);
    return changes;
  }

  Changes from_resid() {
    Changes changes = finish(true, [](const PatchWrapper&, int64_t row) {
      return ChangedRow{.row = row};
    });
    changes.skipped.resize(nodes_.size());
    return changes;
  }

 private:
  /// From the fully patched input: terms for all that is not patched.
  ChangedRow patched_row(const PatchWrapper& w, int64_t row) const {
    ChangedRow changed{.row = row, .from_patched = true};
    for (int64_t source = w.in_start; source < w.in_stop; source++) {
      if (differs(w, row, source, /*base=*/1)) {
        (is_changed_[static_cast<size_t>(source)] ? changed.changed
                                                  : changed.baseline)
            .push_back(source);
      }
    }
    return changed;
  }

  /// Returns whether a row is computed from the fully patched input: see
  /// patched_rows.
  bool is_patched(const PatchWrapper& w, int64_t row) const {
    bool any = false;
    for (int64_t source = w.in_start; source < w.in_stop && !any; source++) {
      any = differs(w, row, source, /*base=*/0);
    }
    return any;
  }

  const PatchWrapper& wrapper(const ModelNode& node, size_t input) const {
    return *model_.wrapper(node.inputs[input]);
  }

  static int64_t n_rows(const PatchWrapper& w) {
    return std::max<int64_t>(w.rows, 1);
  }
  static int64_t positions(const PatchWrapper& w) {
    return std::max<int64_t>(w.seq_len, 1);
  }

  /// Row and source of a mask.
  static std::pair<int64_t, int64_t> place(const PatchWrapper& w, int64_t at) {
    const int64_t i = (at - w.mask_offset) % (n_rows(w) * w.n_in());
    return {i / w.n_in(), w.in_start + i % w.n_in()};
  }

  /// The flips among a destination's masks.
  std::vector<int64_t> flips_in(const PatchWrapper& w) const {
    const auto first =
        std::lower_bound(flips_.at.begin(), flips_.at.end(), w.mask_offset);
    const auto last =
        std::lower_bound(first, flips_.at.end(), w.mask_offset + w.mask_size());
    return {first, last};
  }

  /// Returns whether a mask is not `base` at some position.
  bool differs(const PatchWrapper& w, int64_t row, int64_t source, double base)
      const {
    const int64_t step = n_rows(w) * w.n_in();
    const double* mask =
        flips_.after + w.mask_offset + row * w.n_in() + source - w.in_start;
    for (int64_t p = 0; p < positions(w); p++, mask += step) {
      if (*mask != base) {
        return true;
      }
    }
    return false;
  }

  /// The sources that change and are not patched away from a row.
  template <typename Body>
  void for_changed(const PatchWrapper& w, int64_t row, const Body& body) const {
    for (const int64_t source : changed_) {
      if (source >= w.in_start && source < w.in_stop &&
          differs(w, row, source, /*base=*/1)) {
        body(source);
      }
    }
  }

  std::vector<bool> changed_rows(const PatchWrapper& w) const {
    std::vector<bool> rows(static_cast<size_t>(n_rows(w)));
    for (const int64_t at : flips_in(w)) {
      rows[static_cast<size_t>(place(w, at).first)] = true;
    }
    for (size_t row = 0; row < rows.size(); row++) {
      for_changed(
          w, static_cast<int64_t>(row), [&](int64_t) { rows[row] = true; });
    }
    return rows;
  }

  bool reads_change(const ModelNode& node, size_t head) const {
    for (size_t input = 0; input < node.inputs.size(); input++) {
      const auto [first, last] =
          rows_of_head(node, wrapper(node, input), static_cast<int64_t>(head));
      for (int64_t row = first; row < last; row++) {
        if (rows_.back()[input][static_cast<size_t>(row)]) {
          return true;
        }
      }
    }
    return false;
  }

  /// list: from a row of which nothing is patched to its terms.
  template <typename List>
  Changes finish(bool from_resid, const List& list) const {
    Changes changes;
    changes.from_resid = from_resid;
    changes.slots.assign(is_changed_.size(), -1);
    changes.delta_slots = changes.slots;
    changes.first_block = model_.model().n_layers() - 1;
    const auto d_model = static_cast<double>(model_.model().d_model());
    for (size_t i = 0; i < nodes_.size(); i++) {
      const ModelNode& node = nodes_[i];
      NodeChanges of_node;
      of_node.rows.resize(node.inputs.size());
      // If all heads run, they read the stream unless they are told.
      const bool all_rows = from_resid &&
          std::find(live_[i].begin(), live_[i].end(), false) == live_[i].end();
      for (size_t head = 0; head < live_[i].size(); head++) {
        if (!live_[i][head]) {
          continue;
        }
        of_node.live.push_back(static_cast<int64_t>(head));
        changes.first_block = std::min(changes.first_block, node.block);
        for (size_t input = 0; input < node.inputs.size(); input++) {
          for (const int64_t row : rows_to_list(i, input, head, all_rows)) {
            const PatchWrapper& w = wrapper(node, input);
            add_row(
                changes,
                of_node.rows[input],
                is_patched(w, row) ? patched_row(w, row) : list(w, row));
          }
        }
      }
      changes.cost += node.cost * static_cast<double>(of_node.live.size()) /
          static_cast<double>(node.heads);
      for (const std::vector<ChangedRow>& rows : of_node.rows) {
        for (const ChangedRow& row : rows) {
          changes.cost +=
              kTermCost * d_model * static_cast<double>(1 + row.n_terms());
        }
      }
      changes.nodes.push_back(std::move(of_node));
    }
    for (std::vector<int64_t>* slots : {&changes.slots, &changes.delta_slots}) {
      for (int64_t& slot : *slots) {
        slot = slot < 0 ? slot : changes.n_slots++;
      }
    }
    return changes;
  }

  std::vector<int64_t> rows_to_list(
      size_t node,
      size_t input,
      size_t head,
      bool all) const {
    std::vector<int64_t> rows;
    const auto [first, last] = rows_of_head(
        nodes_[node], wrapper(nodes_[node], input), static_cast<int64_t>(head));
    for (int64_t row = first; row < last; row++) {
      if (all || rows_[node][input][static_cast<size_t>(row)]) {
        rows.push_back(row);
      }
    }
    return rows;
  }

  static void add_row(
      Changes& changes,
      std::vector<ChangedRow>& rows,
      ChangedRow row) {
    if (!rows.empty() && rows.back().row >= row.row) {
      return; // heads may share it
    }
    std::vector<int64_t>& slots =
        row.from_patched ? changes.delta_slots : changes.slots;
    for (const int64_t source : row.changed) {
      slots[static_cast<size_t>(source)] = 0;
    }
    rows.push_back(std::move(row));
  }

  // A term is bound by memory, a product is not.
  static constexpr double kTermCost = 2;

  const PatchableModel& model_;
  const std::vector<ModelNode>& nodes_;
  const MaskFlips& flips_;
  std::vector<std::vector<std::vector<bool>>> rows_; // by node, input and row
  std::vector<std::vector<bool>> live_;              // by node and head
  std::vector<bool> is_changed_;                     // by source
  std::vector<int64_t> changed_;                     // the same as a list
};

} // namespace

bool Changes::none() const {
  return std::all_of(nodes.begin(), nodes.end(), [](const NodeChanges& node) {
    return node.live.empty();
  });
}

Changes changes_from_inputs(
    const PatchableModel& model,
    const MaskFlips& flips) {
  return ChangeFinder(model, flips).from_inputs();
}

Changes changes_from_resid(
    const PatchableModel& model,
    const MaskFlips& flips) {
  return ChangeFinder(model, flips).from_resid();
}

} // namespace autocircuit
