#pragma once

#include <ATen/core/Tensor.h>
#include <torch/custom_class.h>

#include "autocircuit/model/norm.h"

namespace autocircuit {

/// Patched minus current output of the sources of one pass, however they are
/// kept.
struct Differences : torch::CustomClassHolder {
  /// Positions of the pass.
  virtual int64_t seq() const = 0;

  /// Those of sources start..., at positions first... of all: [batch,
  /// positions, n, d_model].
  virtual at::Tensor rows(
      int64_t start,
      int64_t n,
      int64_t first,
      int64_t positions) const = 0;

  /// At how many positions at once `rows` may be asked for, of so many.
  virtual int64_t positions_at_once(int64_t n, int64_t positions) const = 0;
};

/// Returns a buffer of differences, without values.
at::Tensor empty_deltas(
    at::IntArrayRef shape,
    const at::TensorOptions& options);

/// Returns what a destination reads where all masks are one constant, so that
/// all its rows are norm(x): an expanded tensor [batch, seq, rows, d_model].
/// norm may be nullptr. `values` [batch or 1, seq or 1, rows, n] receives its
/// gradient as if the rows were apart; x [batch, seq, d_model], which the
/// caller made, that of all of them. These may be the last positions of those
/// that the differences have, and those of several points one after another
/// [points * batch, seq, d_model], which share the differences: their gradients
/// are added up before they meet them.
at::Tensor equal_rows(
    const at::Tensor& x,
    const at::Tensor& values,
    c10::intrusive_ptr<Differences> differences,
    int64_t in_start,
    const Norm* norm);

} // namespace autocircuit
