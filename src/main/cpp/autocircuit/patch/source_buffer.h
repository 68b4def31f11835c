#pragma once

#include <ATen/core/Tensor.h>
#include <ATen/core/ivalue.h>

#include <cstdint>
#include <utility>

namespace autocircuit {

/// What the two autograd functions of a SourceBuffer share.
struct SourceDeltas : torch::CustomClassHolder {
  explicit SourceDeltas(at::Tensor buffer) : delta(std::move(buffer)) {}

  at::Tensor delta;   // [n_srcs, batch, seq, d_model]
  at::Tensor grad;    // the same, from the first backward on; fp32 at least
  int grad_task = -1; // the backward pass that `grad` belongs to
};

/// The differences patched minus current output of every source during one
/// patched forward: each source writes its rows once, and every destination
/// after it reads them.
///
/// Autograd sees two functions, `record` and `interpolate`, which share this
/// one buffer in the forward and one gradient buffer in the backward. So what
/// a pass saves grows with the number of sources, where saving a difference
/// tensor at every destination would grow with its square.
///
/// Note [Token]: the two functions exchange data through buffers that autograd
/// does not track. A scalar token runs from each record to the next and into
/// every interpolation between them; it carries no value, but it makes
/// autograd run the backward of a record only after that of all its readers.
class SourceBuffer {
 public:
  /// patch_src_outs: [n_srcs, batch, seq, d_model].
  explicit SourceBuffer(at::Tensor patch_src_outs);

  /// Writes the rows of sources start... from their outputs [rows, batch, seq,
  /// d_model].
  void record(int64_t start, const at::Tensor& outputs);

  /// The same for outputs = z [rows, batch * seq, k] @ w [rows, k, d_model],
  /// in one pass; for forwards that autograd does not record.
  void record_product(int64_t start, const at::Tensor& z, const at::Tensor& w);

  /// base [1 or rows, batch, seq, d_model] plus, for each row of values
  /// [groups, rows, n], the weighted sum of the differences of sources
  /// in_start...: [rows, batch, seq, d_model].
  at::Tensor interpolate(
      const at::Tensor& base,
      const at::Tensor& values,
      int64_t in_start) const;

 private:
  at::Tensor patch_src_outs_;
  c10::intrusive_ptr<SourceDeltas> deltas_;
  at::Tensor token_; // see Note [Token]
};

} // namespace autocircuit
