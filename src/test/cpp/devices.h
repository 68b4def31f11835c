// Devices that a machine may lack.
#pragma once

#include <ATen/Context.h>

#include "check.h"

namespace autocircuit::test {

/// The CUDA device, or the end of the test as skipped.
inline at::Device cuda_or_skip() {
  if (!at::hasCUDA()) {
    SKIP("no CUDA device, or a LibTorch without CUDA");
  }
  return at::Device(at::kCUDA);
}

} // namespace autocircuit::test
