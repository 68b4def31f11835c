#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <memory>
#include <mutex>
#include <optional>
#include <utility>
#include <vector>

#include "autocircuit/engine/changes.h"
#include "autocircuit/engine/forward.h"
#include "autocircuit/engine/recording_hooks.h"

namespace autocircuit {

/// Values of a pass that its baseline does not have yet.
struct ChangedValues {
  Changes changes;
  /// Rows before their norms [batch, seq, d_model], by hook point.
  std::vector<std::vector<std::pair<int64_t, at::Tensor>>> rows = {};
  /// Queries, keys, values and z of the heads that ran, by hook point.
  RecordedValues of_heads = {};
  /// Changes of the outputs of sources, and new deltas [batch, seq, slots,
  /// d_model].
  at::Tensor outputs = {};
};

/// A patched run of which all is kept that a run with a few other masks needs:
/// such a run computes what changes, and no more. Without gradients; masks are
/// the weights of the patched activations themselves, the same for all
/// examples. Threads take turns.
///
/// For models that no plan can be made for, and in 16 bits, where a change
/// would be lost in rounding, every run is a whole one.
///
/// Logits that it returns are the caller's own. Where a call fails, nothing has
/// changed, and it may be repeated; should that not be so, all further calls
/// throw. They do, too, when weights, source activations or a prefix were
/// changed in place meanwhile.
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
  void commit();

  const PatchableModel& model() const {
    return *model_;
  }
  /// Without positions that no mask changes; see shared_positions.h.
  const ModelInput& input() const {
    return request_.input;
  }

 private:
  struct Pending {
    at::Tensor masks;
    at::Tensor logits;
    std::optional<ChangedValues> values; // none: everything has to run
  };

  /// The run that others differ from, as far as it is kept.
  struct Baseline {
    at::Tensor masks; // [n_masks], float64 on the CPU
    at::Tensor logits;
    // The rest of incremental runs only.
    RecordedValues values = {};
    at::Tensor delta = {}; // patch minus outputs [batch, seq, n_srcs, d_model]
    /// Heads, by node, that have changed since, when nothing of it came to the
    /// end, and sources whose change nobody read.
    std::vector<std::vector<bool>> stale = {};
    std::vector<bool> stale_sources = {};
    bool any_stale = false;
    int64_t kept = 0; // since the last whole run
  };
  /// The baseline after a change, which shares what has not changed with the
  /// one before, and what is then to be written into such shared tensors.
  struct Update {
    struct Write {
      at::Tensor to;
      at::Tensor from;
      bool subtracts = false;
    };
    Baseline next;
    std::vector<Write> writes = {};
  };

  /// Throws if it cannot be used any more.
  void check() const;
  /// Logits of all wanted positions, for the caller.
  at::Tensor own(const at::Tensor& logits) const;
  uint64_t version() const;
  at::Tensor plain_logits(const at::Tensor& masks) const;
  Baseline whole_run(const at::Tensor& masks) const;
  Pending run_changes(const at::Tensor& masks, const MaskFlips& flips);
  /// Returns whether what would be used of the baseline is out of date.
  bool uses_stale(const Changes& changes) const;
  Update updated(const Pending& pending) const;
  void update_input(HookId hook, const ChangedValues& values, Update& update)
      const;
  void update_heads(
      const ModelNode& node,
      HookId hook,
      const std::vector<int64_t>& live,
      const ChangedValues& values,
      Update& update) const;
  /// Returns the change of what the node adds to the stream, or an undefined
  /// tensor.
  at::Tensor update_outputs(
      const ModelNode& node,
      const std::vector<int64_t>& live,
      const ChangedValues& values,
      Update& update) const;
  void commit(Update update);

  std::shared_ptr<const PatchableModel> model_;
  ForwardRequest request_;
  PatchContext context_;
  at::Tensor shared_logits_; // of the positions that no mask changes
  at::Tensor patch_;         // [batch, seq, n_srcs, d_model]
  std::vector<at::Tensor> fully_patched_; // inputs, by hook point
  bool is_incremental_;
  uint64_t version_; // of what it was made from

  mutable std::mutex mutex_;
  Baseline baseline_;
  std::optional<Pending> pending_;
  bool is_broken_ = false;
};

} // namespace autocircuit
