#include "autocircuit/engine/step_masks.h"

#include <ATen/ops/tensor.h>

#include <algorithm>
#include <utility>

#include "autocircuit/engine/dest_rows.h"
#include "autocircuit/engine/kernel_rows.h"
#include "autocircuit/kernels/tensors.h"
#include "autocircuit/model/precision.h"

namespace autocircuit {

namespace {

// Gathering costs more for each term than passing all does.
constexpr int64_t kFewShare = 4;

at::Tensor some_positions(const at::Tensor& x, int64_t position, int64_t n) {
  return x.defined() && x.size(1) > 1 ? x.narrow(1, position, n) : x;
}

} // namespace

StepMasks::StepMasks(const PatchableModel& model, const at::Tensor& values)
    : model_id_(model.id()), values_(values) {
  const at::TensorOptions options = model.model().options();
  const at::ScalarType type =
      accumulation_type(c10::typeMetaToScalarType(options.dtype()));
  TORCH_CHECK(
      values.dim() == 1 && values.size(0) == model.n_masks() &&
          values.scalar_type() == type && values.device() == options.device(),
      "expected mask values [n_masks] = [",
      model.n_masks(),
      "] of ",
      type,
      " on ",
      options.device(),
      ", got ",
      values.sizes(),
      " of ",
      values.dtype(),
      " on ",
      values.device());
  for (const PatchWrapper& w : model.wrappers()) {
    seq_len_ = std::max(seq_len_, w.is_dest() ? w.seq_len : 0);
  }
}

StepMasks::Weights StepMasks::weights(const at::Tensor& all) {
  Weights weights{.all = all};
  if (!fits_kernels(all) || all.size(1) > 1) {
    return weights;
  }
  const at::Tensor flat = all.contiguous();
  const auto* w = flat.const_data_ptr<float>();
  std::vector<float> some;
  for (int64_t row = 0; row < all.size(2); row++) {
    weights.starts.push_back(static_cast<int64_t>(some.size()));
    for (int64_t i = 0; i < all.size(3); i++, w++) {
      if (*w != 0) {
        weights.terms.push_back(i);
        some.push_back(*w);
      }
    }
  }
  const auto n = static_cast<int64_t>(some.size());
  weights.starts.push_back(n);
  weights.few = n * kFewShare < all.numel();
  weights.of_terms = at::tensor(some, all.options()).view({1, 1, n});
  return weights;
}

const StepMasks::Rows& StepMasks::rows_of(
    const std::vector<const PatchWrapper*>& wrappers) const {
  const std::lock_guard<std::mutex> lock(mutex_);
  const auto [found, is_new] = rows_.try_emplace(wrappers[0]->mask_offset);
  Rows& rows = found->second;
  if (is_new) {
    const at::Tensor values =
        values_together(wrappers, values_, std::max<int64_t>(seq_len_, 1));
    rows.is_patched = patched_rows(values);
    rows.any_patched = rows.is_patched.any().item<bool>();
    rows.from_stream = weights(values);
    rows.from_patched = weights(values - rows.is_patched);
  }
  return rows;
}

bool StepMasks::patches(
    const std::vector<const PatchWrapper*>& wrappers) const {
  return rows_of(wrappers).any_patched;
}

at::Tensor StepMasks::rows(
    const std::vector<const PatchWrapper*>& wrappers,
    RowBases bases,
    const at::Tensor& delta,
    int64_t position,
    const Norm* norm) const {
  const Rows& rows = rows_of(wrappers);
  const PatchWrapper& first = *wrappers[0];
  const int64_t tokens = delta.size(1);
  const at::Tensor sources = delta.narrow(2, first.in_start, first.n_in());
  const Weights& weights =
      bases.patched.defined() ? rows.from_patched : rows.from_stream;
  if (bases.patched.defined()) {
    bases.is_patched = some_positions(rows.is_patched, position, tokens);
  }
  if (weights.few && fits_kernels(delta) && fits_kernels(bases.stream)) {
    return kernel_sparse_rows(
        bases, weights.starts, weights.terms, weights.of_terms, sources, norm);
  }
  return masked_rows(
      bases, some_positions(weights.all, position, tokens), sources, norm);
}

} // namespace autocircuit
