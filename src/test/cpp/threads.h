#pragma once

#include <ATen/Parallel.h>

namespace autocircuit::test {

/// Gives threads to this one while it lives.
class Threads {
 public:
  explicit Threads(int n) : before_(at::get_num_threads()) {
    at::set_num_threads(n);
  }
  Threads(const Threads&) = delete;
  Threads& operator=(const Threads&) = delete;
  ~Threads() {
    at::set_num_threads(before_);
  }

 private:
  int before_;
};

} // namespace autocircuit::test
