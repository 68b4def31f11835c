#pragma once

#include <cstdint>

namespace autocircuit::bridge {

/// Threads that one call may use, for LibTorch's and OpenBLAS's pools alike:
/// OpenBLAS keeps a pool of its own that at::set_num_threads does not reach.
void set_pool_sizes(int64_t n);

} // namespace autocircuit::bridge
