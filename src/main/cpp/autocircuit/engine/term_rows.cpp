#include "autocircuit/engine/term_rows.h"

#include <ATen/ops/stack.h>
#include <ATen/ops/tensor.h>

#include <algorithm>

#include "autocircuit/engine/kernel_rows.h"

namespace autocircuit {

at::Tensor term_rows(
    const std::vector<TermRow>& rows,
    int64_t positions,
    const at::Tensor& baseline,
    const at::Tensor& changed) {
  const bool fit = fits_kernels(baseline) && fits_kernels(changed) &&
      std::all_of(rows.begin(), rows.end(), [](const TermRow& row) {
                     return fits_kernels(row.base);
                   });
  if (fit) {
    return kernel_term_rows(rows, positions, baseline, changed);
  }
  std::vector<at::Tensor> out;
  for (const TermRow& row : rows) {
    const auto n = static_cast<int64_t>(row.baseline.size());
    const at::Tensor weights =
        at::tensor(row.weights, baseline.options().dtype(at::kDouble))
            .to(baseline.scalar_type())
            .view({positions, -1, 1}); // [seq or 1, terms, 1]
    at::Tensor x = row.base;
    for (int64_t t = 0; t < weights.size(1); t++) {
      const at::Tensor term = t < n
          ? baseline.select(2, row.baseline[static_cast<size_t>(t)])
          : changed.select(2, row.changed[static_cast<size_t>(t - n)]);
      x = x + weights.select(1, t) * term;
    }
    out.push_back(x);
  }
  return at::stack(out, 2);
}

} // namespace autocircuit
