#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "autocircuit/engine/adding_hooks.h"
#include "autocircuit/patch/patchable_model.h"

namespace autocircuit {

/// Which executor runs a pass.
enum class PlanPolicy : int64_t {
  kAuto = 0,        // the fastest that fits
  kReference = 1,   // plain operations, for comparison
  kBuffered = 2,    // every source and every destination, whatever the masks
  kFullyPatched = 3 // what circuits leave of the fully patched run, if it fits
};

struct ForwardRequest {
  ModelInput input;
  const PatchContext* context = nullptr; // none: the plain model
  /// Outputs of the sources before `input.start_block` [n_srcs, batch, seq,
  /// d_model]; undefined when starting from tokens.
  at::Tensor start_src_outs;
  bool want_src_outs = false;
  /// Of source outputs, too: those behind the queries of the last block may be
  /// zeros at other positions.
  bool only_last_counts = false;
  /// Patched minus current outputs of all sources, of a pass by
  /// PlanPolicy::kBuffered; those behind the queries of the last block may be
  /// zeros but at the last position.
  bool want_differences = false;
  std::vector<std::string> reads;
  std::vector<Addition> added = {};
  PlanPolicy policy = PlanPolicy::kAuto;
};

struct ForwardResult {
  at::Tensor logits;
  at::Tensor src_outs;    // [n_srcs, batch, seq, d_model], if wanted; no graph
  at::Tensor differences; // of the same shape, if wanted; no graph
  std::vector<at::Tensor> reads;
};

/// Throws unless what a request brings fits the model.
void check_request(const PatchableModel& model, const ForwardRequest& request);

/// Throws unless `tensors` [n_srcs, batch, seq, d_model] fit model and input.
void check_src_outs(
    const PatchableModel& model,
    const ModelInput& input,
    const char* name,
    const at::Tensor& tensors);

/// Throws if the model has masks for another number of positions.
void check_positions(const PatchableModel& model, int64_t seq);

/// Runs a model, patched or not. Autograd records it if grad mode is on. Checks
/// its arguments.
ForwardResult forward(
    const PatchableModel& model,
    const ForwardRequest& request);

} // namespace autocircuit
