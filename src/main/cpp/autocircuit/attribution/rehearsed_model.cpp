#include "autocircuit/attribution/rehearsed_model.h"

#include <ATen/ops/empty_strided.h>

namespace autocircuit {

at::Tensor on_meta(const at::Tensor& x) {
  return x.defined()
      ? at::empty_strided(x.sizes(), x.strides(), x.options().device(at::kMeta))
      : x;
}

ModelInput on_meta(const ModelInput& input) {
  ModelInput moved = input;
  moved.value = on_meta(input.value);
  moved.attention_mask = on_meta(input.attention_mask);
  for (std::vector<at::Tensor>* entries :
       {&moved.prefix.keys, &moved.prefix.values}) {
    for (at::Tensor& entry : *entries) {
      entry = on_meta(entry);
    }
  }
  return moved;
}

std::shared_ptr<const PatchableModel> on_meta(
    const PatchableModel& model,
    at::ScalarType type) {
  return std::make_shared<const PatchableModel>(
      make_model(
          model.model().description(),
          model.model().weights().to(at::kMeta, type)),
      model.wrappers());
}

bool stands_for_cpu(const PatchableModel& model) {
  const at::Device device = model.model().options().device();
  return device.is_cpu() || device.is_meta();
}

} // namespace autocircuit
