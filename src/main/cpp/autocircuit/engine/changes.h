#pragma once

#include <cstdint>
#include <vector>

#include "autocircuit/patch/patchable_model.h"

namespace autocircuit {

/// A row of a destination, and the sources that make what it reads.
struct ChangedRow {
  int64_t row = 0;
  std::vector<int64_t> known = {};   // as they were in the run before
  std::vector<int64_t> changed = {}; // that put out something else
};

struct NodeChanges {
  std::vector<int64_t> live;                 // heads that run
  std::vector<std::vector<ChangedRow>> rows; // by input
};

/// What is to be computed where masks differ in a few places from those of a
/// run that is known.
///
/// With the outputs o of the sources and their differences D = patch - o in the
/// known run, and what changes, c = o' - o, a row is
///
///   x' = x + sum (1 - m') * c + sum (m' - m) * D        from what it read, and
///   x' = resid' + sum m' * D - sum m' * c               from the stream.
///
/// The first has terms for what changes and is not patched away. It needs no
/// residual stream, so nodes that change but do not reach the end need not run.
/// The second has terms for all that is patched, and where nothing is, all rows
/// are the stream, so one product serves them all.
struct Changes {
  bool from_resid = false;
  std::vector<NodeChanges> nodes; // as in Model::nodes()
  /// By source: its place among those whose change is read; -1: it is not.
  std::vector<int64_t> slots;
  int64_t n_slots = 0;
  /// Heads that change and do not run, by node.
  std::vector<std::vector<int64_t>> skipped;
  int64_t first_block = 0; // that something changes in
  double cost = 0;         // multiplications for each token, about

  bool none() const;
};

/// Masks of the known run and of the other one, each [n_masks], and the places
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
