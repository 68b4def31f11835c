#pragma once

#include <memory>
#include <optional>
#include <vector>

#include "autocircuit/model/model.h"
#include "autocircuit/patch/patch_wrapper.h"

namespace autocircuit {

/// A model with wrappers at some of its hook points. Immutable; shares the
/// model with others that wrap it differently.
class PatchableModel {
 public:
  PatchableModel(
      std::shared_ptr<const Model> model,
      std::vector<PatchWrapper> wrappers);

  const Model& model() const {
    return *model_;
  }
  /// The wrapper at a hook point, or nullptr.
  const PatchWrapper* wrapper(HookId hook) const {
    const int64_t index = wrapper_at_[static_cast<size_t>(hook)];
    return index < 0 ? nullptr : &wrappers_[static_cast<size_t>(index)];
  }
  const std::vector<PatchWrapper>& wrappers() const {
    return wrappers_;
  }
  /// Returns whether a destination, one of `wrappers()`, reads its sources and
  /// a constant and nothing else.
  bool reads_only_sources(const PatchWrapper& wrapper) const {
    return constants_[index_of(wrapper)].has_value();
  }
  /// That constant, in the type in which the model accumulates: [d_model], or
  /// undefined for none.
  at::Tensor constant(const PatchWrapper& wrapper) const;

  /// No other patchable model of this process has it.
  uint64_t id() const {
    return id_;
  }
  int64_t n_srcs() const {
    return n_srcs_;
  }
  int64_t n_masks() const {
    return n_masks_;
  }

 private:
  size_t index_of(const PatchWrapper& wrapper) const {
    return static_cast<size_t>(&wrapper - wrappers_.data());
  }
  std::optional<std::vector<at::Tensor>> constants_of(
      const PatchWrapper& wrapper) const;

  std::shared_ptr<const Model> model_;
  std::vector<PatchWrapper> wrappers_;
  std::vector<int64_t> wrapper_at_; // by hook; -1: none
  /// Of destinations, by wrapper: none where they read something else, too.
  std::vector<std::optional<std::vector<at::Tensor>>> constants_;
  uint64_t id_;
  int64_t n_srcs_ = 0;
  int64_t n_masks_ = 0;
};

class FullyPatchedCache;
class MaskPlans;

/// All that selects a patched forward, as a value.
struct PatchContext {
  at::Tensor patch_src_outs; // [n_srcs, batch, seq, d_model]
  at::Tensor masks;          // ([batch]) [n_masks], fp32 or fp64
  MaskTransform transform;
  /// The value of all f(mask), if the caller knows that they are equal.
  std::optional<double> uniform = std::nullopt;
  /// The cache of what passes with these activations have in common;
  /// nullptr: nowhere.
  std::shared_ptr<FullyPatchedCache> fully_patched = nullptr;
  /// Of masks that never change; nullptr: they may.
  std::shared_ptr<MaskPlans> plans = nullptr;
};

} // namespace autocircuit
