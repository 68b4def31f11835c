#include "autocircuit/engine/planned_rows.h"

#include <ATen/ops/cat.h>

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
  whole.any_patched = dest.plan->any_patched;
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
    const at::Tensor& given_base,
    const at::Tensor& patched,
    const Norm* norm) const {
  const at::Tensor base = given_base.to(delta_.scalar_type());
  int64_t rows = 0;
  int64_t terms = 0;
  for (const PlannedDest& dest : dests) {
    rows += static_cast<int64_t>(dest.plan->rows.size());
    terms += static_cast<int64_t>(dest.plan->sources.size());
  }
  const std::vector<int64_t> sources = sources_of(*dests[0].wrapper);
  const auto n = static_cast<int64_t>(sources.size());
  const bool sparse = fits_kernels(delta_) && fits_kernels(base) &&
      (terms == 0 ||
       static_cast<double>(terms) <
           kDense * static_cast<double>(rows) * static_cast<double>(n));
  const RowBases bases{.stream = base, .patched = patched};
  const at::Tensor mixed = sparse ? mix_terms(dests, bases, norm)
                                  : mix_all(dests, sources, bases, norm);
  return mixed.to(given_base.scalar_type());
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

std::pair<at::Tensor, at::Tensor> PlannedRows::weights_of(
    const PlannedDest& dest,
    int64_t positions,
    bool any_patched) const {
  at::Tensor values = dest.wrapper->token_values(values_, positions);
  at::Tensor is_patched = any_patched ? patched_rows(values) : at::Tensor();
  const std::vector<int64_t>& rows = dest.plan->rows;
  if (static_cast<int64_t>(rows.size()) != values.size(2)) {
    values = entries(values, 2, rows);
    is_patched = any_patched ? entries(is_patched, 2, rows) : is_patched;
  }
  if (plan_.from_fully_patched) {
    return {values - 1, is_patched};
  }
  return {any_patched ? values - is_patched : values, is_patched};
}

at::Tensor PlannedRows::mix_terms(
    const std::vector<PlannedDest>& dests,
    RowBases bases,
    const Norm* norm) const {
  std::vector<int64_t> starts{0};
  std::vector<int64_t> slots;
  std::vector<at::Tensor> weights;
  std::vector<at::Tensor> is_patched;
  for (const PlannedDest& dest : dests) {
    const auto& [w, plan] = dest;
    std::vector<int64_t> index; // into [rows, n_in]
    for (size_t i = 0; i < plan->rows.size(); i++) {
      for (int64_t t = plan->starts[i]; t < plan->starts[i + 1]; t++) {
        const int64_t source = plan->sources[static_cast<size_t>(t)];
        slots.push_back(plan_.slots[static_cast<size_t>(source)]);
        index.push_back(
            static_cast<int64_t>(i) * w->n_in() + source - w->in_start);
      }
      starts.push_back(static_cast<int64_t>(slots.size()));
    }
    const auto [all, patched] =
        weights_of(dest, bases.stream.size(1), bases.patched.defined());
    weights.push_back(entries(all.flatten(2, 3), 2, index));
    is_patched.push_back(patched);
  }
  if (bases.patched.defined()) {
    bases.is_patched = at::cat(is_patched, 2);
  }
  return kernel_sparse_rows(
      bases,
      starts,
      slots,
      at::cat(weights, 2),
      last_positions(delta_, bases.stream.size(1)),
      norm);
}

at::Tensor PlannedRows::mix_all(
    const std::vector<PlannedDest>& dests,
    const std::vector<int64_t>& sources,
    RowBases bases,
    const Norm* norm) const {
  const PatchWrapper& first = *dests[0].wrapper;
  std::vector<at::Tensor> weights;
  std::vector<at::Tensor> is_patched;
  for (const PlannedDest& dest : dests) {
    TORCH_CHECK(
        dest.wrapper->in_start == first.in_start &&
            dest.wrapper->in_stop == first.in_stop,
        dest.wrapper->module,
        ": expected the same incoming sources as ",
        first.module);
    const auto [all, patched] =
        weights_of(dest, bases.stream.size(1), bases.patched.defined());
    weights.push_back(all);
    is_patched.push_back(patched);
  }
  if (bases.patched.defined()) {
    bases.is_patched = at::cat(is_patched, 2);
  }
  at::Tensor all = weights.size() == 1 ? weights[0] : at::cat(weights, 2);
  const auto n = static_cast<int64_t>(sources.size());
  if (n != first.n_in()) {
    std::vector<int64_t> columns;
    for (const int64_t source : sources) {
      columns.push_back(source - first.in_start);
    }
    all = entries(all, 3, columns);
  }
  return masked_rows(
      bases,
      all,
      last_positions(delta_, bases.stream.size(1))
          .narrow(
              2, n == 0 ? 0 : plan_.slots[static_cast<size_t>(sources[0])], n),
      norm);
}

} // namespace autocircuit
