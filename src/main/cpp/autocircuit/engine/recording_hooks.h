#pragma once

#include <ATen/core/Tensor.h>

#include <functional>
#include <vector>

#include "autocircuit/engine/forward.h"
#include "autocircuit/model/hooks.h"

namespace autocircuit {

/// Says which values of a run are captured, for other runs to start from.
enum class Recorded {
  /// Destination inputs, the same for all rows: [batch, seq, d_model]; and
  /// queries, keys and values [batch, seq, heads, d_head].
  kEqualInputs,
  /// The same for each row, [batch, seq, rows, d_model], z of heads where they
  /// put out their results [batch, seq, heads, d_head], and what passes through
  /// all other hook points [batch, seq, d_model].
  kAll
};

/// By hook point, undefined where nothing is recorded.
using RecordedValues = std::vector<at::Tensor>;

/// Runs a checked request by the buffered executor and leaves in `values` what
/// it had at hook points.
ForwardResult recorded_forward(
    const PatchableModel& model,
    const ForwardRequest& request,
    Recorded what,
    RecordedValues& values);

} // namespace autocircuit
