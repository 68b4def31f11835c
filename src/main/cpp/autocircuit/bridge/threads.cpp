#include "autocircuit/bridge/threads.h"

#include <ATen/Parallel.h>
#include <c10/util/Exception.h>
#include <dlfcn.h>

#include <limits>

namespace autocircuit::bridge {

void set_pool_sizes(int64_t n) {
  TORCH_CHECK(
      n >= 1 && n <= std::numeric_limits<int>::max(),
      "expected at least one thread, got ",
      n);
  const int count = static_cast<int>(n);
  at::set_num_threads(count);
  // Looked up rather than linked: LibTorch may run on another BLAS.
  using SetThreads = void (*)(int);
  if (auto* symbol = dlsym(RTLD_DEFAULT, "openblas_set_num_threads")) {
    reinterpret_cast<SetThreads>(symbol)(count);
  }
}

} // namespace autocircuit::bridge
