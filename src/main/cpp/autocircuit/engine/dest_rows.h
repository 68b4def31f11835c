#pragma once

#include <ATen/core/Tensor.h>
#include <c10/util/ArrayRef.h>

#include <functional>
#include <vector>

#include "autocircuit/model/hooks.h"
#include "autocircuit/patch/patchable_model.h"

// Common parts of passes that mix the inputs of destinations.
namespace autocircuit {

/// Wrappers of inputs that are read together; none if none is wrapped. Throws
/// if only some are.
std::vector<const PatchWrapper*> wrappers_together(
    const PatchableModel& model,
    c10::ArrayRef<HookId> modules);

/// Returns what the heads behind `modules` read where every input of theirs has
/// a row, normed if `norm` is given: the queries for the last position alone if
/// the pass ends there. `rows` gives the rows of wrappers from the stream.
HeadInputs all_head_inputs(
    const PatchableModel& model,
    c10::ArrayRef<HookId> modules,
    const at::Tensor& resid,
    const Norm* norm,
    bool ends_at_last,
    const std::function<
        at::Tensor(const std::vector<const PatchWrapper*>&, const at::Tensor&)>&
        rows);

/// Values out of a flat vector ([batch]) [n_masks] for the rows of destinations
/// that read the same sources, one after another, at so many positions at the
/// end: [batch or 1, positions or 1, rows, n].
at::Tensor values_together(
    const std::vector<const PatchWrapper*>& wrappers,
    const at::Tensor& flat,
    int64_t positions);

/// Returns what a destination reads whose masks are all `value`: (1 - value) *
/// resid + value * patched, which is what it reads if they are 1; not read for
/// 0.
at::Tensor uniformly_patched(
    const at::Tensor& resid,
    const at::Tensor& patched,
    double value);

} // namespace autocircuit
