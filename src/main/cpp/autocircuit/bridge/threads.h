#pragma once

#include <cstdint>

namespace autocircuit {
class Model;
struct ModelInput;
} // namespace autocircuit

namespace autocircuit::bridge {

/// Threads that every call uses from now on, whatever its work. They are
/// LibTorch's: OpenBLAS, which has a pool of its own, computes on the thread
/// that calls it.
void set_pool_sizes(int64_t n);

/// Brings the calling thread up to the last set_pool_sizes of any thread, and
/// OpenBLAS to one thread. An OpenMP thread keeps a count of its own, which
/// at::set_num_threads changes for its caller and for threads that have not
/// computed yet.
void follow_pool_sizes();

/// Threads that are worth their waiting for each other in a pass of so many
/// tokens, up to `available`. `block_weights` is also what one token multiplies
/// in a block.
int threads_worth(double block_weights, int64_t tokens, int available);

/// Limits the calling thread, while it lives, to the threads that a pass is
/// worth; does nothing once set_pool_sizes has been called.
class PassThreads {
 public:
  PassThreads(const Model& model, const ModelInput& input);
  /// As many as the calling thread's last pass that autograd recorded, for its
  /// backward.
  PassThreads();
  ~PassThreads();
  PassThreads(const PassThreads&) = delete;
  PassThreads& operator=(const PassThreads&) = delete;

 private:
  void limit(int count);

  int before_ = 0; // 0: unchanged
};

} // namespace autocircuit::bridge
