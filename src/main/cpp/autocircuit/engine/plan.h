#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <optional>
#include <vector>

#include "autocircuit/patch/patchable_model.h"

namespace autocircuit {

/// Which rows of a destination differ from the base of the plan, and by which
/// sources: those of rows[i] are sources[starts[i]] up to starts[i + 1].
struct DestPlan {
  std::vector<int64_t> rows;
  std::vector<int64_t> starts{0};
  std::vector<int64_t> sources;
  /// True if a row is based on what a fully patched destination reads, though
  /// the base of the plan is the residual stream.
  bool any_patched = false;
};

/// Holds what one patched forward computes, as its masks need it.
///
/// A row of a destination is resid + sum f(mask) * delta, and at the same time
/// x1 + sum (f(mask) - 1) * delta, where x1 is what it reads if all its masks
/// are 1: constant + sum of patches. From the residual stream, every node runs;
/// each row is the stream or is computed from x1 (see patched_rows), with terms
/// for masks that are not 1. From the fully patched run, all rows are
/// computed from x1, and only nodes run that lie on a path of masks that are
/// not 1 from the embedding to the end: all others have what they have in that
/// run, and there is no stream. So the cost follows the circuit.
struct Plan {
  bool from_fully_patched = false;
  std::vector<DestPlan> dests;            // by hook
  std::vector<std::vector<int64_t>> live; // heads that run, by node
  /// By source: its place among those that some row reads; -1: none does.
  std::vector<int64_t> slots;
  int64_t n_slots = 0;
  double cost = 0; // multiplications for each token, about
};

/// Returns whether so many rows of all are mixed and projected one by one; if
/// there are more, all are, as one product.
inline bool is_few(int64_t rows, int64_t all) {
  return all > 0 && 3 * rows <= 2 * all;
}

/// Returns whether plans can be made for a model: that the graph of its
/// wrappers is the one of its nodes.
bool has_plans(const PatchableModel& model);

/// values: f(mask) on the CPU, ([batch]) [n_masks].
/// start_block: where the pass starts; what comes before has run.
Plan plan_from_resid(
    const PatchableModel& model,
    const at::Tensor& values,
    int64_t start_block);

/// constant_deltas: whether sources that do not run differ from the activations
/// that they are patched with.
Plan plan_from_fully_patched(
    const PatchableModel& model,
    const at::Tensor& values,
    int64_t start_block,
    bool constant_deltas);

} // namespace autocircuit
