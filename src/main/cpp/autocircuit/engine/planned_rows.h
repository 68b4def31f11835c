#pragma once

#include <ATen/core/Tensor.h>

#include <utility>
#include <vector>

#include "autocircuit/engine/masked_rows.h"
#include "autocircuit/engine/plan.h"
#include "autocircuit/model/norm.h"

namespace autocircuit {

/// A destination with the plan of its rows.
struct PlannedDest {
  const PatchWrapper* wrapper;
  const DestPlan* plan;
};

/// The same plan with all rows of the destination, with terms or without.
DestPlan with_all_rows(const PlannedDest& dest);

/// Says what the planned rows of destinations are in one pass.
class PlannedRows {
 public:
  /// values: f(mask), ([batch]) [n_masks]; delta: [batch, seq, slots, d_model],
  /// written while the pass goes on.
  PlannedRows(const Plan& plan, at::Tensor values, at::Tensor delta)
      : plan_(plan), values_(std::move(values)), delta_(std::move(delta)) {}

  /// The rows of destinations that read the same sources, one after another:
  /// `base` [batch, seq, d_model] plus their terms, normed if `norm` is given:
  /// [batch, seq, rows, d_model]. `patched`, the same shape, takes the place of
  /// the base where rows are patched; undefined if the base is that or none of
  /// them is. A base of fewer positions is that of the last ones.
  at::Tensor operator()(
      const std::vector<PlannedDest>& dests,
      const at::Tensor& base,
      const at::Tensor& patched,
      const Norm* norm) const;

 private:
  /// The sources with a slot before a destination.
  std::vector<int64_t> sources_of(const PatchWrapper& w) const;
  /// Of the rows of a destination: their weights [batch or 1, seq or 1, rows,
  /// n], at so many positions, and which of them are based on `patched` [...,
  /// 1], undefined if that is the base of all or of none.
  std::pair<at::Tensor, at::Tensor> weights_of(
      const PlannedDest& dest,
      int64_t positions,
      bool any_patched) const;
  at::Tensor mix_terms(
      const std::vector<PlannedDest>& dests,
      RowBases bases,
      const Norm* norm) const;
  at::Tensor mix_all(
      const std::vector<PlannedDest>& dests,
      const std::vector<int64_t>& sources,
      RowBases bases,
      const Norm* norm) const;

  const Plan& plan_;
  at::Tensor values_;
  at::Tensor delta_;
};

} // namespace autocircuit
