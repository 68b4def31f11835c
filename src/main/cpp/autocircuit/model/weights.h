#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

namespace autocircuit {

/// Returns how often tensors were changed in place so far, in all. Inference
/// tensors do not count their changes.
uint64_t version_of(at::TensorList tensors);

/// A weight that a model has.
struct WeightShape {
  std::string name;
  std::vector<int64_t> sizes;
};

/// The tensors of a model under their canonical names. Copies share the
/// tensors.
class Weights {
 public:
  Weights(std::vector<std::string> names, std::vector<at::Tensor> tensors);

  /// Weights of whatever names and shapes are asked for, without data; they are
  /// listed in the order in which they are asked for.
  static Weights listed_in(std::shared_ptr<std::vector<WeightShape>> list);

  /// The tensor of that name; throws if it is missing or shaped otherwise.
  at::Tensor get(const std::string& name, at::IntArrayRef shape) const;

  /// The same, undefined where the name is missing.
  at::Tensor get_optional(const std::string& name, at::IntArrayRef shape) const;

  /// The tensors on another device, of their type or another one; a tensor held
  /// under two names stays one.
  Weights to(
      at::Device device,
      std::optional<at::ScalarType> type = std::nullopt) const;

  /// Returns whether any of them is being trained.
  bool require_grad() const;

  const std::vector<std::string>& names() const {
    return names_;
  }
  const std::vector<at::Tensor>& tensors() const {
    return tensors_;
  }

 private:
  std::vector<std::string> names_;
  std::vector<at::Tensor> tensors_;
  std::shared_ptr<std::vector<WeightShape>> list_;
};

} // namespace autocircuit
