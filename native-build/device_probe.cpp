// Checks that LibTorch is here, whole, and reaches a device:
// run-device-tests.sh compiles it first.
#include <ATen/ATen.h>
#include <torch/csrc/autograd/autograd.h>
#include <torch/version.h>

#include <cstdio>
#include <string>

#if !defined(__clang__) && __GNUC__ < 12
#error "g++ 12 or newer is needed"
#endif

#if TORCH_VERSION_MAJOR * 100 + TORCH_VERSION_MINOR < 211
#error "torch 2.11 or newer is needed"
#endif

// As the kernels have them.
using Vector = float __attribute__((vector_size(16)));
static Vector reversed(Vector x) {
  return __builtin_shufflevector(x, x, 3, 2, 1, 0);
}

int main(int argc, char** argv) {
  try {
    const at::Device device(argc > 1 ? argv[1] : "cpu");
    const at::Tensor x = at::ones({2, 2}, device).requires_grad_(true);
    const at::Tensor grad = torch::autograd::grad({at::mm(x, x).sum()}, {x})[0];
    const Vector four = reversed(Vector{4, 3, 2, 1});
    if (grad.sum().item<float>() != 4 * four[3]) {
      std::puts("computes nonsense");
      return 1;
    }
  } catch (const c10::Error& error) {
    const std::string message = error.what_without_backtrace();
    std::puts(
        message.find("Could not run") != std::string::npos
            ? "this LibTorch was built without it"
            : message.substr(0, message.find('\n')).c_str());
    return 1;
  }
  return 0;
}
