#include "autocircuit/bridge/threads.h"

#include <ATen/Parallel.h>
#include <ATen/core/grad_mode.h>
#include <c10/util/Exception.h>
#include <dlfcn.h>
#ifdef _OPENMP
#include <omp.h>
#endif

#include <algorithm>
#include <atomic>
#include <chrono>
#include <limits>
#include <mutex>
#include <thread>

#include "autocircuit/model/model.h"

namespace autocircuit::bridge {

namespace {

// 0: never set.
std::atomic<int> pool_size{0};
thread_local int followed = 0;
// Of the calling thread's last pass with gradients; 0: none yet.
thread_local int recorded = 0;

// Multiplications of a block that keep one thread busy for long enough
// (a millisecond or two), and how many of them take as long as reading a
// weight.
constexpr double kWorthAThread = double{1U << 26U};
constexpr int64_t kReadingAWeight = 14;

// Of the calling thread alone: what at::set_num_threads sets is also the
// default of threads that have not computed yet.
void set_own_threads(int count) {
#ifdef _OPENMP
  omp_set_num_threads(count);
#else
  (void)count;
#endif
}

// Looked up rather than linked: LibTorch may run on another BLAS.
void keep_openblas_to_its_caller() {
  using SetThreads = void (*)(int);
  auto* symbol = dlsym(RTLD_DEFAULT, "openblas_set_num_threads");
  if (symbol != nullptr) {
    reinterpret_cast<SetThreads>(symbol)(1);
  }
}

// While threads of a pass wait for one another, libgomp lets them spin for
// milliseconds, unless the process has more of its threads than processors:
// then they soon sleep. Beside another busy process, those that spin keep the
// very thread that they wait for from its processor, and passes on two threads
// took up to four times as long; those that sleep twice, and no longer than
// before if nothing else runs. So there is always a team of two more, which
// makes threads too many where a pass uses all processors. It never computes,
// and ends with the process. OMP_WAIT_POLICY overrides it.
void let_waiting_threads_sleep() {
#ifdef _OPENMP
  std::thread([] {
#pragma omp parallel num_threads(2)
    {
#pragma omp barrier // what is empty would be left out
    }
    for (;;) { // a team lives as long as the thread that made it
      std::this_thread::sleep_for(std::chrono::hours(24));
    }
  }).detach();
#endif
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
  std::call_once(once, [] {
    keep_openblas_to_its_caller();
    let_waiting_threads_sleep();
  });
  const int count = pool_size.load(std::memory_order_relaxed);
  if (count != followed) {
    at::set_num_threads(count);
    followed = count;
  }
}

int threads_worth(double block_weights, int64_t tokens, int available) {
  const double work =
      block_weights * static_cast<double>(tokens + kReadingAWeight);
  return static_cast<int>(
      std::clamp<double>(work / kWorthAThread, 1, std::max(available, 1)));
}

PassThreads::PassThreads(const Model& model, const ModelInput& input) {
  double multiplications = 0;
  for (const ModelNode& node : model.nodes()) {
    multiplications += node.cost;
  }
  const double blocks =
      static_cast<double>(std::max<int64_t>(model.n_layers(), 1));
  const at::Tensor& value = input.value;
  // The pass says what is wrong with a value.
  const int64_t tokens =
      value.defined() && value.dim() >= 2 ? value.size(0) * value.size(1) : 0;
  const int count =
      threads_worth(multiplications / blocks, tokens, at::get_num_threads());
  if (at::GradMode::is_enabled()) {
    recorded = count;
  }
  limit(count);
}

PassThreads::PassThreads() {
  limit(recorded);
}

void PassThreads::limit(int count) {
  const int available = at::get_num_threads();
  if (pool_size.load(std::memory_order_relaxed) == 0 && count > 0 &&
      count < available) {
    before_ = available;
    set_own_threads(count);
  }
}

PassThreads::~PassThreads() {
  if (before_ > 0) {
    set_own_threads(before_);
  }
}

} // namespace autocircuit::bridge
