// Devices that a machine may lack.
#pragma once

#include <ATen/ATen.h>

#include <cstdlib>
#include <string>

#include "check.h"

namespace autocircuit::test {

/// Returns what models, tokens, masks and activations of the tests are made on:
/// the CPU, or what AUTOCIRCUIT_TEST_DEVICE names: "cuda", or "far"
/// (far_device.h).
inline at::Device test_device() {
  static const at::Device device = [] {
    const char* name = std::getenv("AUTOCIRCUIT_TEST_DEVICE");
    return at::Device(name == nullptr ? "cpu" : name);
  }();
  return device;
}

/// Undefined stays undefined.
inline at::Tensor to_device(const at::Tensor& x) {
  return x.defined() ? x.to(test_device()) : x;
}

/// Ends a test as skipped where tensors are not on the host.
inline void cpu_only(const std::string& what) {
  if (!test_device().is_cpu()) {
    SKIP("of the CPU: " + what);
  }
}

/// Ends a test as skipped where there is no other device to hold the CPU
/// against.
inline at::Device other_device_or_skip() {
  if (test_device().is_cpu()) {
    SKIP("AUTOCIRCUIT_TEST_DEVICE names no other device than the CPU");
  }
  return test_device();
}

} // namespace autocircuit::test
