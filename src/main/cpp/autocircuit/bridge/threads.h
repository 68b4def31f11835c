#pragma once

#include <cstdint>

namespace autocircuit::bridge {

/// Threads that one call may use, for LibTorch's and OpenBLAS's pools alike:
/// OpenBLAS keeps a pool of its own that at::set_num_threads does not reach.
void set_pool_sizes(int64_t n);

/// Brings the calling thread up to the last set_pool_sizes of any thread. An
/// OpenMP thread keeps a count of its own, which at::set_num_threads changes
/// for its caller and for threads that have not computed yet.
void follow_pool_sizes();

} // namespace autocircuit::bridge
