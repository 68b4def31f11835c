#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <string>

#include "autocircuit/patch/mask_fn.h"

namespace autocircuit {

/// Says what patching does at one module: as a destination its input is mixed
/// from the outputs of earlier sources, as a source its output is recorded.
/// Nothing but numbers that Java computed from its graph.
class PatchWrapper {
 public:
  std::string module;
  int64_t src_start = -1; // rows of the source outputs that it writes
  int64_t src_stop = -1;
  int64_t in_start = -1; // sources that feed it
  int64_t in_stop = -1;
  int64_t rows = 0;         // heads of the destination; 0: no such dimension
  int64_t mask_offset = -1; // first value in the flat mask vector
  int64_t seq_len = 0;      // positions with masks of their own; 0: one for all

  bool is_src() const {
    return src_start >= 0;
  }
  bool is_dest() const {
    return in_start >= 0;
  }
  int64_t n_in() const {
    return in_stop - in_start;
  }
  /// Number of mask values: all positions, rows and incoming sources.
  int64_t mask_size() const;

  /// Mask values of this module out of the flat vector ([batch]) [n_masks]:
  /// ([batch]) ([seq]) [rows or 1] [n_in], a view.
  at::Tensor module_values(const at::Tensor& flat) const;

  /// The same as [batch or 1, positions or 1, rows or 1, n_in], for so many
  /// positions at the end.
  at::Tensor token_values(const at::Tensor& flat, int64_t positions) const;

  /// Throws unless the model has as many sources here as the wrapper.
  void check_sources(int64_t n) const;
};

/// Which destination inputs are computed from constant + sum of the patches
/// rather than from the residual stream, of values f(mask) [..., n]: 1 where
/// any of them is not 0, 0 elsewhere, [..., 1]. Taken from the stream, what is
/// left of sources that are not patched would carry the rounding of those that
/// are, however little it is itself. Not differentiable.
at::Tensor patched_rows(const at::Tensor& values);

/// The patch wrapper's forward by itself: arg0 + sum over sources of f(mask) *
/// (src_acts - curr_src_outs), from plain differentiable operations.
/// arg0: [batch, seq, d_model] or [batch, seq, rows, d_model]; src_acts,
/// curr_src_outs: [n, batch, seq, d_model]; mask: ([batch]) ([seq]) ([rows])
/// [n], fp32 where they have 16 bits. Returns arg0's shape, with rows if the
/// mask has them.
at::Tensor interpolate(
    const at::Tensor& arg0,
    const at::Tensor& src_acts,
    const at::Tensor& curr_src_outs,
    const at::Tensor& mask,
    bool has_rows,
    bool has_seq,
    const MaskTransform& transform);

/// Writes a module's output [batch, seq, d_model] or [batch, seq, rows,
/// d_model] into rows src_start... of curr_src_outs [n_srcs, batch, seq,
/// d_model].
void record_source(
    const at::Tensor& output,
    at::Tensor& curr_src_outs,
    int64_t src_start);

} // namespace autocircuit
