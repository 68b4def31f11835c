#pragma once

#include <ATen/core/Tensor.h>

#include <memory>
#include <mutex>
#include <optional>
#include <vector>

#include "autocircuit/engine/recording_hooks.h"

namespace autocircuit {

class PatchableModel;
struct ModelInput;
struct ForwardRequest;

/// What a run with all masks 1 has: every destination reads the sum of the
/// source activations, whatever the tokens. Destinations whose masks are all 1
/// have the same in any other run that is patched with the same activations, so
/// it need not be computed there again. Without gradients.
struct AllOnesRun {
  RecordedValues values; // Recorded::kEqualInputs
  /// What sources put out less than the activations they are patched with
  /// [batch, seq, n_srcs, d_model]: undefined where that is nothing, since the
  /// activations come from such a run.
  at::Tensor delta;
};

/// Remembers that run for source activations, which own this. Any number of
/// threads may share one.
class AllOnesCache {
 public:
  /// The run, if it is known for the activations and the positions of this
  /// request, and if weights are still what they were.
  std::shared_ptr<const AllOnesRun> find(
      const PatchableModel& model,
      const ForwardRequest& request) const;

  /// Makes the run that `request` starts, if `find` does not know it, and
  /// remembers it in the place of the one before. The input starts at the
  /// tokens.
  std::shared_ptr<const AllOnesRun> get(
      const PatchableModel& model,
      const ForwardRequest& request);

  /// Forgets the run.
  void clear();

  /// Makes the unpatched run that `request`, which wants source outputs, starts
  /// and remembers it as the one of these outputs [n_srcs, batch, seq,
  /// d_model], which are returned.
  at::Tensor source_outputs(
      const PatchableModel& model,
      const ForwardRequest& request);

 private:
  /// What the run depends on.
  struct Key {
    uint64_t model;
    uint64_t version; // of weights and activations, which count their changes
    std::vector<int64_t> sizes; // batch, seq
    at::Tensor attention_mask;
    at::Tensor prefix;
  };
  static Key key_of(
      const PatchableModel& model,
      const ModelInput& input,
      const at::Tensor& activations);
  bool matches(const Key& key) const;

  mutable std::mutex mutex_;
  std::optional<Key> key_;
  std::shared_ptr<const AllOnesRun> run_;
};

} // namespace autocircuit
