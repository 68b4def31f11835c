#include "autocircuit/bridge/bridge.h"

#include <ATen/ATen.h>

namespace autocircuit::bridge {

at::Tensor add(const at::Tensor& a, const at::Tensor& b) {
  TORCH_CHECK(
      a.sizes() == b.sizes(), "expected ", a.sizes(), ", got ", b.sizes());
  return a + b;
}

std::vector<at::Tensor> halves(const std::vector<at::Tensor>& tensors) {
  std::vector<at::Tensor> result;
  result.reserve(tensors.size());
  for (const at::Tensor& tensor : tensors) {
    result.push_back(tensor / 2);
  }
  return result;
}

} // namespace autocircuit::bridge
