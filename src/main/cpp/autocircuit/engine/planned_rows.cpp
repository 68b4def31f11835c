#include "autocircuit/engine/planned_rows.h"

#include <ATen/ops/cat.h>
#include <ATen/ops/tensor.h>

#include "autocircuit/engine/kernel_rows.h"
#include "autocircuit/engine/masked_rows.h"
#include "autocircuit/engine/pass_end.h"

namespace autocircuit {

namespace {

// From this share of terms on, the product with all sources is faster.
constexpr double kDense = 0.35;

} // namespace

DestPlan with_all_rows(const PlannedDest& dest) {
  DestPlan whole;
  size_t next = 0;
  for (int64_t row = 0; row < dest.wrapper->rows; row++) {
    const DestPlan& plan = *dest.plan;
    if (next < plan.rows.size() && plan.rows[next] == row) {
      whole.sources.insert(
          whole.sources.end(),
          plan.sources.begin() + plan.starts[next],
          plan.sources.begin() + plan.starts[next + 1]);
      next++;
    }
    whole.rows.push_back(row);
    whole.starts.push_back(static_cast<int64_t>(whole.sources.size()));
  }
  return whole;
}

at::Tensor PlannedRows::operator()(
    const std::vector<PlannedDest>& dests,
    const at::Tensor& base,
    const Norm* norm) const {
  int64_t rows = 0;
  int64_t terms = 0;
  for (const PlannedDest& dest : dests) {
    rows += static_cast<int64_t>(dest.plan->rows.size());
    terms += static_cast<int64_t>(dest.plan->sources.size());
  }
  const std::vector<int64_t> sources = sources_of(*dests[0].wrapper);
  const auto n = static_cast<int64_t>(sources.size());
  const bool sparse = fits_kernels(delta_) && fits_kernels(base) &&
      static_cast<double>(terms) <
          kDense * static_cast<double>(rows) * static_cast<double>(n);
  return sparse ? mix_terms(dests, base, norm)
                : mix_all(dests, sources, base, norm);
}

std::vector<int64_t> PlannedRows::sources_of(const PatchWrapper& w) const {
  std::vector<int64_t> sources;
  for (int64_t s = w.in_start; s < w.in_stop; s++) {
    if (plan_.slots[static_cast<size_t>(s)] >= 0) {
      sources.push_back(s);
    }
  }
  return sources;
}

at::Tensor PlannedRows::mix_terms(
    const std::vector<PlannedDest>& dests,
    const at::Tensor& base,
    const Norm* norm) const {
  std::vector<int64_t> starts{0};
  std::vector<int64_t> slots;
  std::vector<at::Tensor> weights;
  for (const auto& [w, plan] : dests) {
    std::vector<int64_t> index; // into [rows, n_in]
    for (size_t i = 0; i < plan->rows.size(); i++) {
      for (int64_t t = plan->starts[i]; t < plan->starts[i + 1]; t++) {
        const int64_t source = plan->sources[static_cast<size_t>(t)];
        slots.push_back(plan_.slots[static_cast<size_t>(source)]);
        index.push_back(plan->rows[i] * w->n_in() + source - w->in_start);
      }
      starts.push_back(static_cast<int64_t>(slots.size()));
    }
    weights.push_back(w->token_values(values_, base.size(1))
                          .flatten(2, 3)
                          .index_select(2, at::tensor(index, at::kLong)));
  }
  return kernel_sparse_rows(
      base,
      starts,
      slots,
      coefficients(at::cat(weights, 2)),
      last_positions(delta_, base.size(1)),
      norm);
}

at::Tensor PlannedRows::mix_all(
    const std::vector<PlannedDest>& dests,
    const std::vector<int64_t>& sources,
    const at::Tensor& base,
    const Norm* norm) const {
  const PatchWrapper& first = *dests[0].wrapper;
  std::vector<at::Tensor> values;
  for (const auto& [w, plan] : dests) {
    TORCH_CHECK(
        w->in_start == first.in_start && w->in_stop == first.in_stop,
        w->module,
        ": expected the same incoming sources as ",
        first.module);
    at::Tensor v =
        w->token_values(values_, base.size(1)); // [b or 1, s or 1, rows, n]
    if (static_cast<int64_t>(plan->rows.size()) != v.size(2)) {
      v = v.index_select(2, at::tensor(plan->rows, at::kLong));
    }
    values.push_back(v);
  }
  at::Tensor all = values.size() == 1 ? values[0] : at::cat(values, 2);
  const auto n = static_cast<int64_t>(sources.size());
  if (n != first.n_in()) {
    std::vector<int64_t> columns;
    for (const int64_t source : sources) {
      columns.push_back(source - first.in_start);
    }
    all = all.index_select(3, at::tensor(columns, at::kLong));
  }
  return masked_rows(
      base,
      coefficients(all),
      last_positions(delta_, base.size(1))
          .narrow(2, plan_.slots[static_cast<size_t>(sources[0])], n),
      norm);
}

at::Tensor PlannedRows::coefficients(const at::Tensor& values) const {
  return plan_.from_all_ones ? values - 1 : values;
}

} // namespace autocircuit
