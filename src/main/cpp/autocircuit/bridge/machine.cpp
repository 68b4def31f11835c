// Names the hardware that computes here: times mean nothing without it.
#include <ATen/Version.h>
#include <dlfcn.h>

#include <fstream>
#include <string>
#include <thread>

#include "autocircuit/bridge/bridge.h"
#include "autocircuit/bridge/errors.h"

namespace autocircuit::bridge {

namespace {

std::string processor() {
  std::ifstream file("/proc/cpuinfo");
  for (std::string line; std::getline(file, line);) {
    const size_t colon = line.find(": ");
    if (line.starts_with("model name") && colon != std::string::npos) {
      return line.substr(colon + 2);
    }
  }
  return "unknown processor";
}

// Looked up rather than linked: LibTorch may run on another BLAS.
std::string blas() {
  using Name = char* (*)();
  auto* symbol = dlsym(RTLD_DEFAULT, "openblas_get_corename");
  return symbol == nullptr
      ? "no OpenBLAS"
      : std::string("OpenBLAS core ") + reinterpret_cast<Name>(symbol)();
}

} // namespace

std::string machine() {
  return translating_errors([] {
    return processor() + " (" +
        std::to_string(std::thread::hardware_concurrency()) + " processors), " +
        blas() + ", ATen CPU capability " + at::get_cpu_capability();
  });
}

} // namespace autocircuit::bridge
