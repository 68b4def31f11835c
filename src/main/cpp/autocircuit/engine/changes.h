#pragma once

#include <cstdint>
#include <vector>

#include "autocircuit/patch/patchable_model.h"

namespace autocircuit {

/// A row of a destination, and the sources that make what it reads.
struct ChangedRow {
  int64_t row = 0;
  bool from_patched = false;          // its base is the fully patched input
  std::vector<int64_t> baseline = {}; // as they were in the run before
  std::vector<int64_t> changed = {};  // that put out something else

  size_t n_terms() const {
    return baseline.size() + changed.size();
  }
};

struct NodeChanges {
  std::vector<int64_t> live;                 // heads that run
  std::vector<std::vector<ChangedRow>> rows; // by input
};

/// Says what to compute where masks differ in a few places from those of a
/// baseline.
///
/// With the outputs o of the sources and their deltas D = patch - o in the
/// baseline, the changes c = o' - o, and the new deltas D' = patch - o', a
/// row is
///
///   x' = x1 + sum (m' - 1) * D'    where anything is patched, from x1, which
///                                  it reads if all is; elsewhere
///   x' = x + sum c - sum m * D     from what it read in the baseline, or
///   x' = resid'                    from the stream.
///
/// So what little a patched row may read is not left over from large terms. Of
/// the other two, the first has terms for what changes. It needs no residual
/// stream, so nodes that change but do not reach the end need not run. By the
/// second, one product serves all rows of which nothing is patched.
struct Changes {
  bool from_resid = false;
  std::vector<NodeChanges> nodes; // as in Model::nodes()
  /// By source: where its change c is left, if that is read; else -1.
  std::vector<int64_t> slots;
  /// By source that changes: where its new delta is left, if that is read; else
  /// -1. These slots come behind the others.
  std::vector<int64_t> delta_slots;
  int64_t n_slots = 0; // of both kinds
  /// Heads that change and do not run, by node.
  std::vector<std::vector<int64_t>> skipped;
  int64_t first_block = 0; // that something changes in
  double cost = 0;         // multiplications for each token, about

  bool none() const;
};

/// Masks of the baseline and of the other run, each [n_masks], and the places
/// where they may differ, in order.
struct MaskFlips {
  const double* before;
  const double* after;
  const std::vector<int64_t>& at;
};

/// The first kind.
Changes changes_from_inputs(
    const PatchableModel& model,
    const MaskFlips& flips);

/// The second kind.
Changes changes_from_resid(const PatchableModel& model, const MaskFlips& flips);

} // namespace autocircuit
