#include "autocircuit/engine/compact_sources.h"

#include <ATen/ops/cat.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/neg.h>

#include <algorithm>
#include <utility>

#include "autocircuit/engine/masked_rows.h"
#include "autocircuit/memory/rehearsal.h"
#include "autocircuit/model/precision.h"
#include "autocircuit/ops/head_product.h"

namespace autocircuit {

namespace {

// The outputs of z, if it is not these itself, to rows of the same positions.
void write_outputs(
    const at::Tensor& rows,
    const at::Tensor& z,
    const at::Tensor& weights) {
  if (!weights.defined()) {
    rows.copy_(z);
  } else if (z.scalar_type() == accumulation_type(z.scalar_type())) {
    head_product_out(rows, z, weights);
  } else {
    rows.copy_(head_product(z, weights));
  }
}

// At how many positions at once n rows fit their buffer, for prompts like x's.
int64_t rows_at_once(
    const at::Tensor& x,
    int64_t n,
    int64_t d_model,
    int64_t positions) {
  const int64_t bytes = x.size(0) * n * d_model * x.element_size();
  return std::clamp<int64_t>(kCompactRowsBytes / bytes, 1, positions);
}

} // namespace

void CompactSources::record(int64_t start, const at::Tensor& outputs) {
  add({start, outputs.detach(), {}});
}

void CompactSources::record_heads(
    int64_t start,
    const at::Tensor& z,
    const at::Tensor& weights) {
  add({start, z.detach(), weights.detach()});
}

void CompactSources::subtract_from(CompactSources patch) {
  patch_ = std::move(patch.parts_);
}

void CompactSources::subtract_from(const at::Tensor& patch_src_outs) {
  patch_activations_ = patch_src_outs.detach().permute({1, 2, 0, 3});
}

void CompactSources::add(Part part) {
  TORCH_CHECK(
      part.start == recorded_,
      "expected the outputs of source ",
      recorded_,
      " and those behind it, got those of source ",
      part.start);
  const int64_t n = part.values.size(2);
  recorded_ += n;
  const MemoryPartScope deltas(MemoryPart::kDeltas);
  if (!patch_.empty()) {
    Part& patched = patch_[parts_.size()];
    if (sums_patches_) {
      add_to_patch_sum(patched);
    }
    part.values = std::exchange(patched.values, {}) - part.values;
  } else if (patch_activations_.defined()) {
    if (sums_patches_) {
      patch_sum_ =
          add_rows(patch_sum_, patch_activations_.narrow(2, part.start, n));
    }
    part.values = part.values.neg();
  }
  parts_.push_back(std::move(part));
}

void CompactSources::add_to_patch_sum(const Part& part) {
  const at::Tensor& x = part.values;
  if (!part.weights.defined()) {
    patch_sum_ = add_rows(patch_sum_, x);
    return;
  }
  const int64_t seq = x.size(1);
  const int64_t step = rows_at_once(x, x.size(2), part.weights.size(2), seq);
  std::vector<at::Tensor> sums;
  for (int64_t first = 0; first < seq; first += step) {
    const int64_t positions = std::min(step, seq - first);
    const at::Tensor rows = at::empty(
        {x.size(0), positions, x.size(2), part.weights.size(2)}, x.options());
    write_outputs(rows, x.narrow(1, first, positions), part.weights);
    sums.push_back(add_rows(
        patch_sum_.defined() ? patch_sum_.narrow(1, first, positions)
                             : patch_sum_,
        rows));
  }
  patch_sum_ = sums.size() == 1 ? sums[0] : at::cat(sums, 1);
}

at::Tensor CompactSources::rows(
    int64_t start,
    int64_t n,
    int64_t first,
    int64_t positions) const {
  const at::Tensor& x = parts_[0].values;
  const at::Tensor rows =
      at::empty({x.size(0), positions, n, d_model()}, x.options());
  for (const Part& part : parts_) {
    const int64_t from = std::max(part.start, start);
    const int64_t to = std::min(part.start + part.values.size(2), start + n);
    if (from >= to) {
      continue;
    }
    write_outputs(
        rows.narrow(2, from - start, to - from),
        part.values.narrow(1, first, positions)
            .narrow(2, from - part.start, to - from),
        part.weights.defined()
            ? part.weights.narrow(0, from - part.start, to - from)
            : part.weights);
  }
  if (patch_activations_.defined()) {
    rows.add_(
        patch_activations_.narrow(1, first, positions).narrow(2, start, n));
  }
  return rows;
}

int64_t CompactSources::d_model() const {
  const Part& part = parts_[0];
  return (part.weights.defined() ? part.weights : part.values).size(-1);
}

int64_t CompactSources::positions_at_once(int64_t n, int64_t positions) const {
  return rows_at_once(parts_[0].values, n, d_model(), positions);
}

} // namespace autocircuit
