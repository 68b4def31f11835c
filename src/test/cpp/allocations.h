// Memory that runs out where a test wants it to.
#pragma once

#include <functional>

namespace autocircuit::test {

/// While one is alive, calls `before` ahead of every allocation of a CPU tensor
/// that this thread makes; what it throws is what the allocation throws.
class OnAllocation {
 public:
  explicit OnAllocation(std::function<void()> before);
  ~OnAllocation();
  OnAllocation(const OnAllocation&) = delete;
  OnAllocation& operator=(const OnAllocation&) = delete;
  OnAllocation(OnAllocation&&) = delete;
  OnAllocation& operator=(OnAllocation&&) = delete;

 private:
  std::function<void()> before_;
};

/// Throws as an allocator does that has no memory left.
[[noreturn]] void run_out_of_memory();

/// Runs `body` while its first allocation of a tensor fails, then while its
/// second one does, and so on until it succeeds; `failed` after each failure.
/// Returns how often it failed.
int fail_at_every_allocation(
    const std::function<void()>& body,
    const std::function<void()>& failed);

/// While one is alive, `new` fails on this thread, but for so many times.
class NothingLeft {
 public:
  explicit NothingLeft(int but = 0);
  ~NothingLeft();
  NothingLeft(const NothingLeft&) = delete;
  NothingLeft& operator=(const NothingLeft&) = delete;
  NothingLeft(NothingLeft&&) = delete;
  NothingLeft& operator=(NothingLeft&&) = delete;
};

} // namespace autocircuit::test
