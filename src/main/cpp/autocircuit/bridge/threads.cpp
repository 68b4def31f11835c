#include "autocircuit/bridge/threads.h"

#include <ATen/Parallel.h>
#include <c10/util/Exception.h>
#include <dlfcn.h>

#include <atomic>
#include <limits>
#include <mutex>

namespace autocircuit::bridge {

namespace {

// 0: never set.
std::atomic<int> pool_size{0};
thread_local int followed = 0;

// Looked up rather than linked: LibTorch may run on another BLAS.
void keep_openblas_to_its_caller() {
  using SetThreads = void (*)(int);
  auto* symbol = dlsym(RTLD_DEFAULT, "openblas_set_num_threads");
  if (symbol != nullptr) {
    reinterpret_cast<SetThreads>(symbol)(1);
  }
}

} // namespace

void set_pool_sizes(int64_t n) {
  TORCH_CHECK(
      n >= 1 && n <= std::numeric_limits<int>::max(),
      "expected at least one thread, got ",
      n);
  const int count = static_cast<int>(n);
  pool_size.store(count);
  follow_pool_sizes();
}

void follow_pool_sizes() {
  static std::once_flag once;
  std::call_once(once, keep_openblas_to_its_caller);
  const int count = pool_size.load(std::memory_order_relaxed);
  if (count != followed) {
    at::set_num_threads(count);
    followed = count;
  }
}

} // namespace autocircuit::bridge
