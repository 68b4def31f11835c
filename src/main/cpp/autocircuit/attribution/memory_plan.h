#pragma once

#include <cstdint>
#include <optional>
#include <vector>

#include "autocircuit/attribution/faithfulness.h"
#include "autocircuit/attribution/mask_gradient.h"
#include "autocircuit/engine/source_ablations.h"
#include "autocircuit/memory/rehearsal.h"
#include "autocircuit/patch/patchable_model.h"

// Says how much memory work on one batch takes, before it is done. The work
// itself is rehearsed, so only the calls are listed here that it consists of.
namespace autocircuit {

enum class Work : int64_t {
  kPlainPass = 0,
  kCircuits = 1,    // source ablations, then a patched pass for each masks
  kGradient = 2,    // source ablations, then the gradient of masks
  kAttribution = 3, // see EdgeAttribution
  kPoints = 4,      // source outputs of both prompts, then a PointAttribution
  kTraining = 5,    // source ablations, then two steps of MaskTraining
  kSearch = 6       // source ablations, then an IncrementalRun and its changes
};

struct MemoryRequest {
  Work work = Work::kPlainPass;
  int64_t batch = 1;
  int64_t seq = 1;
  OutputSlice slice = OutputSlice::kAll;
  /// Of weights and activations.
  at::ScalarType type = at::kFloat;
  bool padded = false;
  PrefixCache prefix = {};
  /// Of patched work, on the CPU: one for each circuit, else the first.
  std::vector<at::Tensor> masks = {};
  MaskTransform transform = {};
  BatchAblation ablation = BatchAblation::kResample;
  /// Set where the ablation is the mean over a data set, one for all prompts.
  bool of_data_set = false;
  /// Its answers do not count: there are so many, or targets for each prompt.
  AnswerLoss loss = {};
  int64_t answers = 1;
  // Of attribution alone:
  double mask_value = 0;
  int64_t memory_limit = 0; // see split_within
  bool per_prompt = false;
  BackwardRules rules = {};
  // Of training alone:
  FaithfulnessTarget target = FaithfulnessTarget::kKlDiv;
};

struct MemoryPlan {
  int64_t weights = 0; // bytes
  int64_t given = 0;   // of masks, which the caller holds
  RehearsedMemory run;
};

/// Throws as the work itself would where something does not fit the model.
MemoryPlan memory_plan(
    const PatchableModel& model,
    const MemoryRequest& request);

} // namespace autocircuit
