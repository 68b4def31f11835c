#pragma once

#include <cstdint>
#include <vector>

#include "autocircuit/engine/differences.h"

namespace autocircuit {

/// Of the rows that are made at once, about.
constexpr int64_t kCompactRowsBytes = int64_t{64} << 20U;

/// Outputs of the sources of a pass, or differences of two passes, with those
/// of heads as z before their output weights: n_heads times fewer numbers. They
/// are multiplied by the weights when they are read, for as many positions at
/// once as a buffer of bounded size holds.
class CompactSources final : public Differences {
 public:
  explicit CompactSources(bool sums_patches = false)
      : sums_patches_(sums_patches) {}

  /// Records the sources start..., one after another in the order of the
  /// sources: outputs [batch, seq, n, d_model].
  void record(int64_t start, const at::Tensor& outputs);

  /// Heads, whose outputs are z [batch, seq, n, k] times weights [n, k,
  /// d_model].
  void record_heads(
      int64_t start,
      const at::Tensor& z,
      const at::Tensor& weights);

  /// Makes what is recorded from now on patched minus current outputs. `patch`:
  /// what the patched run recorded, which is used up.
  void subtract_from(CompactSources patch);

  /// The same with source activations [n_srcs, batch, seq, d_model].
  void subtract_from(const at::Tensor& patch_src_outs);

  /// Returns how many sources were recorded.
  int64_t recorded() const {
    return recorded_;
  }

  /// The sum of what the sources that were recorded are patched with [batch,
  /// seq, d_model], added in their order in the type in which the model
  /// accumulates, if it is kept.
  const at::Tensor& patch_sum() const {
    return patch_sum_;
  }

  int64_t seq() const override {
    return parts_[0].values.size(1);
  }
  at::Tensor rows(int64_t start, int64_t n, int64_t first, int64_t positions)
      const override;
  int64_t positions_at_once(int64_t n, int64_t positions) const override;

 private:
  struct Part {
    int64_t start;
    at::Tensor values;  // z [batch, seq, n, k], or the outputs themselves
    at::Tensor weights; // [n, k, d_model]; undefined: these are the outputs
  };

  void add(Part part);
  int64_t d_model() const;
  /// Adds the outputs of a part, for as many positions at once as `rows`.
  void add_to_patch_sum(const Part& part);

  bool sums_patches_;
  at::Tensor patch_sum_;
  std::vector<Part> parts_;
  std::vector<Part> patch_;      // the same parts of the patched run
  at::Tensor patch_activations_; // [batch, seq, n_srcs, d_model]
  int64_t recorded_ = 0;
};

} // namespace autocircuit
