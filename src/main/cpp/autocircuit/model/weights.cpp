#include "autocircuit/model/weights.h"

#include <ATen/ops/empty.h>
#include <c10/util/Exception.h>

#include <algorithm>
#include <unordered_map>
#include <utility>

namespace autocircuit {

uint64_t version_of(at::TensorList tensors) {
  uint64_t version = 0;
  for (const at::Tensor& tensor : tensors) {
    version +=
        tensor.is_inference() ? 0 : static_cast<uint64_t>(tensor._version());
  }
  return version;
}

Weights::Weights(
    std::vector<std::string> names,
    std::vector<at::Tensor> tensors)
    : names_(std::move(names)), tensors_(std::move(tensors)) {
  TORCH_CHECK(
      names_.size() == tensors_.size(),
      "expected one tensor for each weight name, got ",
      names_.size(),
      " names and ",
      tensors_.size(),
      " tensors");
  TORCH_CHECK(!tensors_.empty(), "expected the weights of a model, got none");
  for (size_t i = 0; i < tensors_.size(); i++) {
    TORCH_CHECK(tensors_[i].defined(), "weight ", names_[i], " is undefined");
    TORCH_CHECK(
        tensors_[i].scalar_type() == tensors_[0].scalar_type() &&
            tensors_[i].device() == tensors_[0].device(),
        "weight ",
        names_[i],
        " is ",
        tensors_[i].scalar_type(),
        " on ",
        tensors_[i].device(),
        ", but ",
        names_[0],
        " is ",
        tensors_[0].scalar_type(),
        " on ",
        tensors_[0].device());
  }
}

Weights Weights::listed_in(std::shared_ptr<std::vector<WeightShape>> list) {
  Weights weights({""}, {at::empty({}, at::kMeta)});
  weights.list_ = std::move(list);
  return weights;
}

at::Tensor Weights::get(const std::string& name, at::IntArrayRef shape) const {
  at::Tensor tensor = get_optional(name, shape);
  TORCH_CHECK(tensor.defined(), "weight ", name, " is missing");
  return tensor;
}

at::Tensor Weights::get_optional(const std::string& name, at::IntArrayRef shape)
    const {
  if (list_) {
    list_->push_back({name, shape.vec()});
    return tensors_[0].expand(shape);
  }
  const auto found = std::find(names_.begin(), names_.end(), name);
  if (found == names_.end()) {
    return {};
  }
  const at::Tensor& tensor =
      tensors_[static_cast<size_t>(found - names_.begin())];
  TORCH_CHECK(
      tensor.sizes() == shape,
      "weight ",
      name,
      ": expected shape ",
      shape,
      ", got ",
      tensor.sizes());
  return tensor;
}

bool Weights::require_grad() const {
  return std::any_of(
      tensors_.begin(), tensors_.end(), [](const at::Tensor& tensor) {
        return tensor.requires_grad();
      });
}

Weights Weights::to(at::Device device, std::optional<at::ScalarType> type)
    const {
  std::unordered_map<c10::TensorImpl*, at::Tensor> moved;
  std::vector<at::Tensor> tensors;
  tensors.reserve(tensors_.size());
  for (const at::Tensor& tensor : tensors_) {
    at::Tensor& copy = moved[tensor.unsafeGetTensorImpl()];
    if (!copy.defined()) {
      copy = tensor.detach().to(device, type.value_or(tensor.scalar_type()));
    }
    tensors.push_back(copy);
  }
  return {names_, std::move(tensors)};
}

} // namespace autocircuit
