#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <memory>
#include <mutex>
#include <optional>
#include <utility>
#include <vector>

#include "autocircuit/engine/changes.h"
#include "autocircuit/engine/recording_hooks.h"
#include "autocircuit/patch/patchable_model.h"

namespace autocircuit {

/// What a pass from a known run had that the run does not have yet.
struct ChangedValues {
  Changes changes;
  /// Rows before their norms [batch, seq, d_model], by hook point.
  std::vector<std::vector<std::pair<int64_t, at::Tensor>>> rows = {};
  /// Queries, keys, values and z of the heads that ran, by hook point.
  RecordedValues of_heads = {};
  at::Tensor outputs = {}; // new minus old ones [batch, seq, slots, d_model]
};

/// A patched run of which all is kept that a run with a few other masks needs:
/// such a run computes what changes, and no more. Without gradients; masks are
/// the weights of the patched activations themselves, the same for all
/// examples. Threads take turns.
///
/// For models that no plan can be made for, and in 16 bits, where a change
/// would be lost in rounding, every run is a whole one.
class IncrementalRun {
 public:
  /// The run of a patched request, from the tokens, with masks [n_masks].
  IncrementalRun(
      std::shared_ptr<const PatchableModel> model,
      const ForwardRequest& request);

  at::Tensor logits() const;

  /// Logits of the run in which some masks, given by their places, have another
  /// value.
  at::Tensor with(std::vector<int64_t> places, double value);

  /// Makes the run that `with` made last the one that others differ from.
  void keep();

  const PatchableModel& model() const {
    return *model_;
  }
  const ModelInput& input() const {
    return request_.input;
  }

 private:
  struct Pending {
    at::Tensor masks;
    at::Tensor logits;
    std::optional<ChangedValues> values; // none: all has to run anew
  };

  at::Tensor plain_logits(const at::Tensor& masks) const;
  void run_whole();
  Pending run_changes(const at::Tensor& masks, const MaskFlips& flips);
  /// Whether what is known and would be used is out of date.
  bool uses_stale(const Changes& changes) const;
  void update(const ChangedValues& values);
  void update_input(HookId hook, const ChangedValues& values);
  void update_heads(
      const ModelNode& node,
      HookId hook,
      const std::vector<int64_t>& live,
      const ChangedValues& values);
  /// Returns the change of what the node adds to the stream, or an undefined
  /// tensor.
  at::Tensor update_outputs(
      const ModelNode& node,
      const std::vector<int64_t>& live,
      const ChangedValues& values);

  std::shared_ptr<const PatchableModel> model_;
  ForwardRequest request_;
  PatchContext context_;
  bool is_incremental_;

  mutable std::mutex mutex_;
  at::Tensor masks_; // [n_masks], float64 on the CPU
  at::Tensor logits_;
  RecordedValues known_;
  at::Tensor patch_; // [batch, seq, n_srcs, d_model]
  at::Tensor delta_; // patch minus outputs, the same
  /// Heads, by node, that have changed since, when nothing of it came to the
  /// end, and sources whose change nobody read.
  std::vector<std::vector<bool>> stale_;
  std::vector<bool> stale_sources_;
  bool any_stale_ = false;
  int64_t kept_ = 0; // since the last whole run
  std::optional<Pending> pending_;
};

} // namespace autocircuit
