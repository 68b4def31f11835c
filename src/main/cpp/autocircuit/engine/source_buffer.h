#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <map>
#include <memory>
#include <mutex>
#include <utility>

#include "autocircuit/engine/differences.h"
#include "autocircuit/engine/masked_rows.h"

namespace autocircuit {

/// The type of a buffer of differences from `patch`. Those of 16 bits become 32
/// where no backward keeps them: kernels read them as they are, at every
/// destination.
at::ScalarType stored_type(const at::Tensor& patch, bool is_kept);

/// Holds what the autograd functions of a SourceBuffer share.
struct SourceDeltas : Differences {
  explicit SourceDeltas(at::Tensor buffer) : delta(std::move(buffer)) {}

  int64_t seq() const override {
    return delta.size(1);
  }
  at::Tensor rows(int64_t start, int64_t n, int64_t first, int64_t positions)
      const override {
    return delta.narrow(1, first, positions).narrow(2, start, n);
  }
  int64_t positions_at_once(int64_t n, int64_t positions) const override {
    (void)n;
    return positions;
  }

  /// The gradient of `delta` in the backward pass that runs on this thread,
  /// undefined until `start_grad`; fp32 at least. Each pass has its own, since
  /// several may run through one graph at once, and one for some of the inputs
  /// may leave rows behind that it had no use for.
  at::Tensor grad() const;

  /// Makes it, of zeros. It lives as long as that pass.
  at::Tensor start_grad();

  at::Tensor delta; // [batch, seq, n_srcs, d_model]

 private:
  mutable std::mutex mutex_;
  std::map<int, std::weak_ptr<at::Tensor>> grads_; // by graph task
};

/// The differences patched minus current output of every source during one
/// patched forward: each source writes its rows once, and every destination
/// after it reads them. They lie token by token; see masked_rows.h. Sources and
/// destinations near the end of a pass may have its last positions only.
///
/// Autograd sees functions that share this one buffer in the forward and one
/// gradient buffer in the backward, and that recompute a destination's rows
/// rather than keep them. So what a pass saves grows with the number of
/// sources, where saving a difference tensor at every destination would grow
/// with its square.
///
/// Note [Token]: the functions exchange data through buffers that autograd does
/// not track. A scalar token runs from each record to the next and into every
/// read between them; it carries no value, but it makes autograd run the
/// backward of a record only after that of all its readers.
class SourceBuffer {
 public:
  /// patch_src_outs: [n_srcs, batch, seq, d_model], of any strides.
  /// is_kept: whether a backward may follow, which then keeps the buffer.
  explicit SourceBuffer(const at::Tensor& patch_src_outs, bool is_kept = true);

  /// Writes the rows of sources start... from their outputs [batch, positions,
  /// rows, d_model].
  void record(int64_t start, const at::Tensor& outputs);

  /// The same for heads, whose outputs are z [batch, positions, heads, d_head]
  /// times their weights [heads, d_head, d_model]. Returns the sum of the
  /// outputs [batch, positions, d_model].
  at::Tensor record_heads(
      int64_t start,
      const at::Tensor& z,
      const at::Tensor& weights);

  /// The outputs of sources start... that were recorded, at so many positions
  /// at the end: [batch, positions, n, d_model]. Not differentiable.
  at::Tensor outputs(int64_t start, int64_t n, int64_t positions) const;

  /// Returns how many sources were recorded.
  int64_t recorded() const {
    return recorded_;
  }

  /// The rows of a destination, normed if `norm` is given: for each row of
  /// weights [batch or 1, positions or 1, rows, n], its base [batch, positions,
  /// d_model] plus the weighted sum of the differences of sources in_start...:
  /// see masked_rows.h. [batch, positions, rows, d_model].
  at::Tensor rows(
      const RowBases& bases,
      const at::Tensor& weights,
      int64_t in_start,
      const Norm* norm) const;

  /// All of them [n_srcs, batch, seq, d_model]. Those of the last sources that
  /// were recorded at the last position alone are 0 elsewhere.
  at::Tensor all() const;

  /// The buffer itself, for `equal_rows`.
  c10::intrusive_ptr<Differences> differences() const {
    return deltas_;
  }

 private:
  /// like: [batch, positions, n, ...].
  void recorded(int64_t start, const at::Tensor& like);

  int64_t recorded_ = 0;
  int64_t recorded_everywhere_ = 0; // at all positions
  at::Tensor patch_;                // [batch, seq, n_srcs, d_model]
  c10::intrusive_ptr<SourceDeltas> deltas_;
  at::Tensor token_; // see Note [Token]
};

} // namespace autocircuit
