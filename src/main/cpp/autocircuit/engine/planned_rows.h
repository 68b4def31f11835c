#pragma once

#include <ATen/core/Tensor.h>

#include <utility>
#include <vector>

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

/// What the planned rows of destinations are in one pass.
class PlannedRows {
 public:
  /// values: f(mask), ([batch]) [n_masks]; delta: [batch, seq, slots, d_model],
  /// written while the pass goes on.
  PlannedRows(const Plan& plan, at::Tensor values, at::Tensor delta)
      : plan_(plan), values_(std::move(values)), delta_(std::move(delta)) {}

  /// The rows of destinations that read the same sources, one after another:
  /// `base` [batch, seq, d_model] plus their terms, normed if `norm` is given:
  /// [batch, seq, rows, d_model]. A base of fewer positions is that of the last
  /// ones.
  at::Tensor operator()(
      const std::vector<PlannedDest>& dests,
      const at::Tensor& base,
      const Norm* norm) const;

 private:
  /// The sources with a slot before a destination.
  std::vector<int64_t> sources_of(const PatchWrapper& w) const;
  at::Tensor mix_terms(
      const std::vector<PlannedDest>& dests,
      const at::Tensor& base,
      const Norm* norm) const;
  at::Tensor mix_all(
      const std::vector<PlannedDest>& dests,
      const std::vector<int64_t>& sources,
      const at::Tensor& base,
      const Norm* norm) const;
  at::Tensor coefficients(const at::Tensor& values) const;

  const Plan& plan_;
  at::Tensor values_;
  at::Tensor delta_;
};

} // namespace autocircuit
