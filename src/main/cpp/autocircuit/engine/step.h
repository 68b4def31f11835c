#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "autocircuit/engine/step_masks.h"
#include "autocircuit/model/sequence.h"
#include "autocircuit/patch/patchable_model.h"

namespace autocircuit {

/// Tokens that a step adds to one sequence, plain or patched. Those of a
/// patched one read edges from what the sources put out elsewhere: at the same
/// positions of a donor, a plain chunk of the same step, or a constant.
struct StepChunk {
  std::shared_ptr<Sequence> sequence;
  int64_t position = 0; // of the first token: the sequence's length
  int64_t tokens = 0;
  bool wants_logits = false;          // of the last token
  bool wants_reads = false;           // of the last token
  int64_t donor = -1;                 // a chunk of the step
  at::Tensor constant = {};           // [n_srcs, 1, positions or 1, d_model]
  std::shared_ptr<StepMasks> masks{}; // nullptr: plain
};

/// Something that a step adds to the residual-wide value at a hook point, for
/// the tokens of one chunk: [1, tokens or 1, d_model]. See Addition.
struct StepAddition {
  std::string hook;
  int64_t chunk = 0;
  at::Tensor value;
};

struct StepRequest {
  std::vector<StepChunk> chunks;
  at::Tensor tokens; // [1, tokens], of one chunk after another
  std::vector<StepAddition> added = {};
  /// Hook points with one value for each token, or one for each of its heads.
  std::vector<std::string> reads = {};
  /// Looked at before each block: not 0 ends the step. nullptr: nothing does.
  const volatile int32_t* stop = nullptr;
};

struct StepResult {
  bool stopped = false;   // then there is nothing else, and no sequence grew
  at::Tensor logits = {}; // [chunks that want them, d_vocab]
  /// Of chunks that want them, [chunks, ...].
  std::vector<at::Tensor> reads = {};
};

/// A sequence for a patchable model that may be patched, or may not. Behind
/// destinations for each query head, patched keys and values have as many
/// heads.
std::shared_ptr<Sequence> new_sequence(
    const PatchableModel& model,
    int64_t capacity,
    bool patched);
/// The bytes that it takes.
int64_t sequence_bytes(
    const PatchableModel& model,
    int64_t capacity,
    bool patched);

/// Throws unless all of a request fits the model and itself; tokens are looked
/// at by the pass.
void check_step(const PatchableModel& model, const StepRequest& request);

/// Runs chunks of several sequences through a model in one pass. Sequences grow
/// when it is done, all or none. In fp32 on the CPU, what a chunk's tokens get
/// follows in every bit from their sequence, masks and patches alone. Throws if
/// something does not fit, before anything is computed.
StepResult step(const PatchableModel& model, const StepRequest& request);

} // namespace autocircuit
