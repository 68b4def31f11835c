#pragma once

#include <cstdint>

namespace autocircuit::bridge {

/// Threads that one call may use. They are LibTorch's: OpenBLAS, which has a
/// pool of its own, computes on the thread that calls it.
void set_pool_sizes(int64_t n);

/// Brings the calling thread up to the last set_pool_sizes of any thread, and
/// OpenBLAS to one thread. An OpenMP thread keeps a count of its own, which
/// at::set_num_threads changes for its caller and for threads that have not
/// computed yet.
void follow_pool_sizes();

} // namespace autocircuit::bridge
