#include "autocircuit/patch/patch_wrapper.h"

#include <ATen/ops/matmul.h>

#include <algorithm>

namespace autocircuit {

int64_t PatchWrapper::mask_size() const {
  return std::max<int64_t>(seq_len, 1) * std::max<int64_t>(rows, 1) * n_in();
}

at::Tensor PatchWrapper::module_values(const at::Tensor& flat) const {
  std::vector<int64_t> shape = flat.sizes().vec();
  shape.pop_back();
  if (seq_len > 0) {
    shape.push_back(seq_len);
  }
  shape.push_back(std::max<int64_t>(rows, 1));
  shape.push_back(n_in());
  return flat.narrow(-1, mask_offset, mask_size()).view(shape);
}

at::Tensor PatchWrapper::token_values(const at::Tensor& flat, int64_t positions)
    const {
  const at::Tensor values = module_values(flat);
  const int64_t all = std::max<int64_t>(seq_len, 1);
  const int64_t last = std::min(all, positions);
  return values
      .view(
          {flat.dim() == 2 ? flat.size(0) : 1,
           all,
           values.size(-2),
           values.size(-1)})
      .narrow(1, all - last, last);
}

void PatchWrapper::check_sources(int64_t n) const {
  TORCH_CHECK(
      n == src_stop - src_start,
      module,
      ": expected ",
      src_stop - src_start,
      " sources, the model has ",
      n);
}

at::Tensor patched_rows(const at::Tensor& values) {
  return values.detach()
      .ne(0)
      .any(-1, /*keepdim=*/true)
      .to(values.scalar_type());
}

at::Tensor interpolate(
    const at::Tensor& arg0,
    const at::Tensor& src_acts,
    const at::Tensor& curr_src_outs,
    const at::Tensor& mask,
    bool has_rows,
    bool has_seq,
    const MaskTransform& transform) {
  TORCH_CHECK(
      src_acts.dim() == 4 && src_acts.sizes() == curr_src_outs.sizes(),
      "expected source activations and current source outputs of one shape "
      "[n, batch, seq, d_model], got ",
      src_acts.sizes(),
      " and ",
      curr_src_outs.sizes());
  const int64_t n = src_acts.size(0);
  const int64_t batch = src_acts.size(1);
  const int64_t seq = src_acts.size(2);
  const int64_t d_model = src_acts.size(3);
  const bool arg0_has_rows = arg0.dim() == 4;
  TORCH_CHECK(
      (arg0.dim() == 3 || (arg0_has_rows && has_rows)) &&
          arg0.size(0) == batch && arg0.size(1) == seq &&
          arg0.size(-1) == d_model,
      "expected arg0 [",
      batch,
      ", ",
      seq,
      has_rows ? ", (rows,) " : ", ",
      d_model,
      "], got ",
      arg0.sizes());
  const int64_t shared_dims = 1 + (has_seq ? 1 : 0) + (has_rows ? 1 : 0);
  const bool batched_mask = mask.dim() == shared_dims + 1;
  TORCH_CHECK(
      (mask.dim() == shared_dims || batched_mask) && mask.size(-1) == n &&
          (!batched_mask || mask.size(0) == batch) &&
          (!has_seq || mask.size(batched_mask ? 1 : 0) == seq) &&
          (!arg0_has_rows || mask.size(-2) == arg0.size(2)),
      "expected a mask ([",
      batch,
      "]) ",
      has_seq ? "[seq] " : "",
      has_rows ? "[rows] " : "",
      "[",
      n,
      "], got ",
      mask.sizes());

  at::Tensor values = mask_values(mask, batched_mask, batch, transform);
  const bool batched = values.dim() == shared_dims + 1;
  if (!has_rows) {
    values = values.unsqueeze(-2);
  }
  if (!has_seq) {
    values = values.unsqueeze(-3);
  }
  if (!batched) {
    values = values.unsqueeze(0);
  }
  const at::Tensor delta =
      (src_acts - curr_src_outs)
          .to(values.scalar_type())
          .permute({1, 2, 0, 3}); // [batch, seq, n, d_model]
  const at::Tensor mixed =
      at::matmul(values, delta); // [batch, seq, rows, d_model]
  const at::Tensor patched = has_rows
      ? (arg0_has_rows ? arg0 : arg0.unsqueeze(2)) + mixed
      : arg0 + mixed.squeeze(2);
  return patched.to(arg0.scalar_type());
}

void record_source(
    const at::Tensor& output,
    at::Tensor& curr_src_outs,
    int64_t src_start) {
  const at::Tensor rows =
      output.dim() == 4 ? output.permute({2, 0, 1, 3}) : output.unsqueeze(0);
  TORCH_CHECK(
      curr_src_outs.dim() == 4 && rows.dim() == 4 &&
          rows.sizes().slice(1) == curr_src_outs.sizes().slice(1) &&
          src_start >= 0 && src_start + rows.size(0) <= curr_src_outs.size(0),
      "expected an output [batch, seq, (rows,) d_model] that fits source "
      "outputs ",
      curr_src_outs.sizes(),
      " from row ",
      src_start,
      " on, got ",
      output.sizes());
  curr_src_outs.narrow(0, src_start, rows.size(0)).copy_(rows);
}

} // namespace autocircuit
