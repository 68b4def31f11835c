#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <map>
#include <mutex>
#include <vector>

#include "autocircuit/engine/masked_rows.h"
#include "autocircuit/patch/patchable_model.h"

namespace autocircuit {

/// The values f(mask) of a request that generates, the same at each of its
/// steps, and what mixing them needs. Everything that a step computes with them
/// follows from them alone. Any number of threads may use one.
class StepMasks {
 public:
  /// values: [n_masks], in the type in which the model accumulates.
  StepMasks(const PatchableModel& model, const at::Tensor& values);

  /// The rows of destinations that read the same sources, one after another,
  /// at positions that have `bases`: see masked_rows. `patched` of the bases is
  /// what a fully patched destination reads; undefined where rows are based on
  /// the stream whatever their masks. delta: [1, tokens, n_srcs, d_model].
  /// position: of the first token in its sequence.
  at::Tensor rows(
      const std::vector<const PatchWrapper*>& wrappers,
      RowBases bases,
      const at::Tensor& delta,
      int64_t position,
      const Norm* norm) const;

  /// Returns whether any edge of these destinations is patched, so that the
  /// bases need what fully patched ones read.
  bool patches(const std::vector<const PatchWrapper*>& wrappers) const;

  /// Of the patchable model that they are for.
  uint64_t model_id() const {
    return model_id_;
  }
  /// Positions that have masks of their own; 0: one for all.
  int64_t seq_len() const {
    return seq_len_;
  }

 private:
  /// Weights of differences, all of them or the few that are not 0.
  struct Weights {
    at::Tensor all; // [1, positions or 1, rows, n]
    bool few = false;
    std::vector<int64_t> starts = {}; // of each row's terms
    std::vector<int64_t> terms = {};  // sources
    at::Tensor of_terms = {};         // [1, 1, terms]
  };
  struct Rows {
    Weights from_stream;
    Weights from_patched;
    at::Tensor is_patched; // [1, positions or 1, rows, 1]
    bool any_patched = false;
  };

  static Weights weights(const at::Tensor& all);
  const Rows& rows_of(const std::vector<const PatchWrapper*>& wrappers) const;

  uint64_t model_id_;
  int64_t seq_len_ = 0;
  at::Tensor values_;
  mutable std::mutex mutex_;
  mutable std::map<int64_t, Rows> rows_; // by the first wrapper's offset
};

} // namespace autocircuit
