#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <future>
#include <list>
#include <memory>
#include <mutex>
#include <optional>
#include <vector>

#include "autocircuit/engine/recording_hooks.h"

namespace autocircuit {

class PatchableModel;
struct ModelInput;
struct ForwardRequest;

/// Holds a run in which every mask is 1: every destination reads the sum of
/// the source activations, whatever the tokens. Destinations whose masks are
/// all 1 have the same in any other run that is patched with the same
/// activations, so it need not be computed there again. Without gradients.
struct FullyPatchedRun {
  RecordedValues values; // Recorded::kEqualInputs
  /// Activations that sources are patched with minus their outputs
  /// [batch, seq, n_srcs, d_model]: undefined where that is nothing, since the
  /// activations come from such a run.
  at::Tensor delta;
};

/// Such runs of one batch take about as much as its source activations.
constexpr int64_t kFullyPatchedBytes = int64_t{1} << 30U;

struct FullyPatchedStats {
  int64_t runs;  // kept
  int64_t bytes; // which they hold
  int64_t made;  // since the beginning
};

/// Remembers these runs for source activations, which own this: one for each
/// batch size, length, padding and prefix that circuits come with. Any number
/// of threads may share one; a thread waits only for a run that it needs itself
/// and that another one is making.
class FullyPatchedCache {
 public:
  /// limit: bytes of runs; those that nobody has asked for longest go first.
  /// The one asked for last stays, whatever it takes.
  explicit FullyPatchedCache(int64_t limit = kFullyPatchedBytes)
      : limit_(limit) {}

  /// The run for the activations, the shape, the padding and the prefix of this
  /// request. It is made if there is none, or if weights have changed since;
  /// where the request starts and what its tokens are does not matter.
  std::shared_ptr<const FullyPatchedRun> get(
      const PatchableModel& model,
      const ForwardRequest& request);

  /// Says that the activations are what sources put out, unpatched, on `input`:
  /// with the same padding and prefix nothing differs from them.
  void resampled_from(
      const PatchableModel& model,
      const ModelInput& input,
      const at::Tensor& activations);

  /// Returns how many positions at the beginning have the same tokens here as
  /// where the activations were resampled from, up to the last but one; 0 where
  /// they were not, or with another padding or prefix.
  int64_t shared_positions(
      const PatchableModel& model,
      const ModelInput& input,
      const at::Tensor& activations) const;

  /// Forgets all runs.
  void clear();

  FullyPatchedStats stats() const;

 private:
  using Run = std::shared_ptr<const FullyPatchedRun>;

  /// Holds what a run depends on, by value: tensors that callers could write
  /// into are copied, others are held and count their changes.
  struct Key {
    uint64_t model;
    uint64_t version;           // of weights, activations and prefix
    std::vector<int64_t> sizes; // batch, seq
    at::Tensor attention_mask;
    at::Tensor prefix;

    bool operator==(const Key& other) const;
  };
  struct Entry {
    Key key;
    std::shared_future<Run> run; // none: making it failed
    int64_t bytes = 0;           // 0: it is being made
  };
  using Entries = std::list<std::shared_ptr<Entry>>;

  static Key key_of(
      const PatchableModel& model,
      const ModelInput& input,
      const at::Tensor& activations);
  Run make(
      const PatchableModel& model,
      const ForwardRequest& request,
      bool same) const;
  /// Keeps the run of an entry that is still wanted, or drops the entry if
  /// there is none. Returns what has to go for it.
  Entries finish(const std::shared_ptr<Entry>& entry, const Run& run);

  const int64_t limit_;
  mutable std::mutex mutex_;
  std::optional<Key> origin_; // see resampled_from
  at::Tensor origin_tokens_;
  Entries entries_; // those asked for last in front
  int64_t made_ = 0;
};

} // namespace autocircuit
