#pragma once

#include <algorithm>
#include <cstdint>
#include <numeric>
#include <utility>
#include <vector>

#include "autocircuit/patch/patchable_model.h"

// Which sources and rows belong to a head of a node.
namespace autocircuit {

/// The sources that a head writes.
template <typename Body>
void for_sources(
    const PatchableModel& model,
    const ModelNode& node,
    int64_t head,
    const Body& body) {
  for (const HookId hook : node.outputs) {
    const PatchWrapper* w = model.wrapper(hook);
    if (w == nullptr || !w->is_src()) {
      continue;
    }
    for (int64_t s = w->src_start; s < w->src_stop; s++) {
      if (node.heads == 1 || s - w->src_start == head) {
        body(s);
      }
    }
  }
}

/// The first of the rows of an input that a head reads, and the one behind the
/// last.
inline std::pair<int64_t, int64_t> rows_of_head(
    const ModelNode& node,
    const PatchWrapper& w,
    int64_t head) {
  const int64_t rows = std::max<int64_t>(w.rows, 1);
  if (node.heads == 1) {
    return {0, rows};
  }
  const int64_t row = head * rows / node.heads;
  return {row, row + 1};
}

/// Those of n heads, or of n sources of a module, that run where `live` heads
/// of the node do.
inline std::vector<int64_t> live_parts(
    const ModelNode& node,
    const std::vector<int64_t>& live,
    int64_t n) {
  if (node.heads > 1) {
    return live;
  }
  std::vector<int64_t> all(static_cast<size_t>(n));
  std::iota(all.begin(), all.end(), 0);
  return all;
}

} // namespace autocircuit
