#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <functional>
#include <list>
#include <memory>
#include <mutex>
#include <utility>

#include "autocircuit/engine/plan.h"

namespace autocircuit {

/// Remembers the plans that masks which never change lead to, so that each is
/// made once. Belongs to the masks; any number of threads may share one.
class MaskPlans {
 public:
  enum class Kind {
    kFromResid,
    kFullyPatched, // see PlanPolicy
    kCheaper,      // of these two
    kConstantDeltas
  };
  /// Holds what a plan depends on besides the masks.
  struct Key {
    uint64_t model;
    MaskFn mask_fn;
    int64_t start_block;
    Kind kind;

    bool operator==(const Key& other) const = default;
  };

  explicit MaskPlans(at::Tensor masks = {}) : masks_(std::move(masks)) {}

  /// The masks, which nobody writes into. Those of a rehearsal have numbers
  /// here only.
  const at::Tensor& masks() const {
    return masks_;
  }

  /// The plan of a key; `make` makes it if there is none.
  std::shared_ptr<const Plan> get(
      const Key& key,
      const std::function<Plan()>& make);

  /// Returns how many plans were made.
  int64_t made() const;

 private:
  at::Tensor masks_;
  mutable std::mutex mutex_;
  std::list<std::pair<Key, std::shared_ptr<const Plan>>> plans_;
  int64_t made_ = 0;
};

/// The masks of a context with their numbers, as far as the host has them.
const at::Tensor& mask_numbers(const PatchContext& context);

} // namespace autocircuit
