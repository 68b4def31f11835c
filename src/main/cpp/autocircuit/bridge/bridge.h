// All that Java sees of the native engine.
#pragma once

#include <ATen/core/Tensor.h>

#include <vector>

#define AUTOCIRCUIT_API __attribute__((visibility("default")))

namespace autocircuit::bridge {

AUTOCIRCUIT_API at::Tensor add(const at::Tensor& a, const at::Tensor& b);

AUTOCIRCUIT_API std::vector<at::Tensor> halves(const std::vector<at::Tensor>& tensors);

} // namespace autocircuit::bridge
