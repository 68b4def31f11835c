#include "autocircuit/engine/compact_sources.h"

#include <ATen/ops/empty.h>
#include <ATen/ops/neg.h>

#include <algorithm>
#include <utility>

#include "autocircuit/engine/source_buffer.h"
#include "autocircuit/model/head_product.h"
#include "autocircuit/model/precision.h"
#include "autocircuit/model/product.h"

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

// Of all sources of a part: [batch, seq, d_model].
at::Tensor sum_of(const at::Tensor& z, const at::Tensor& weights) {
  const at::ScalarType wide = accumulation_type(z.scalar_type());
  if (!weights.defined()) {
    return z.sum(2, /*keepdim=*/false, wide);
  }
  return product(
             z.reshape({z.size(0) * z.size(1), -1}).to(wide),
             weights.flatten(0, 1).to(wide))
      .view({z.size(0), z.size(1), weights.size(2)});
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
  if (!patch_.empty()) {
    Part& patched = patch_[parts_.size()];
    part.values = std::exchange(patched.values, {}) - part.values;
  } else if (patch_activations_.defined()) {
    part.values = part.values.neg();
  }
  if (keeps_total_) {
    add_to_total(sum_of(part.values, part.weights));
    if (patch_activations_.defined()) {
      add_to_total(patch_activations_.narrow(2, part.start, n)
                       .sum(2, /*keepdim=*/false, total_.scalar_type()));
    }
  }
  parts_.push_back(std::move(part));
}

void CompactSources::add_to_total(const at::Tensor& x) {
  total_ = total_.defined() ? total_ + x : x;
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
  const at::Tensor& x = parts_[0].values;
  const int64_t bytes = x.size(0) * n * d_model() * x.element_size();
  return std::clamp<int64_t>(kCompactRowsBytes / bytes, 1, positions);
}

} // namespace autocircuit
