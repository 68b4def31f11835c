#include "allocations.h"

#include <c10/core/CPUAllocator.h>
#include <c10/util/Exception.h>

#include <cstdlib>
#include <new>
#include <utility>

#include "autocircuit/memory/workspace_pool.h"

namespace {

thread_local const std::function<void()>* before_allocation = nullptr;
thread_local int news_left = -1; // -1: any number

/// Those that are there, with a look at the thread ahead of each allocation.
class WatchedAllocator final : public c10::Allocator {
 public:
  explicit WatchedAllocator(c10::Allocator* allocator)
      : allocator_(allocator) {}

  c10::DataPtr allocate(size_t bytes) override {
    if (before_allocation != nullptr) {
      (*before_allocation)();
    }
    return allocator_->allocate(bytes);
  }
  c10::DeleterFnPtr raw_deleter() const override {
    return allocator_->raw_deleter();
  }
  void copy_data(void* to, const void* from, std::size_t bytes) const override {
    allocator_->copy_data(to, from, bytes);
  }

 private:
  c10::Allocator* allocator_;
};

} // namespace

// In place of the library's, for all that `new` makes in this process.
void* operator new(size_t bytes) {
  void* data = news_left == 0 ? nullptr : std::malloc(bytes == 0 ? 1 : bytes);
  news_left -= news_left > 0 ? 1 : 0;
  if (data == nullptr) {
    throw std::bad_alloc();
  }
  return data;
}
void operator delete(void* data) noexcept {
  std::free(data);
}
void operator delete(void* data, size_t /*bytes*/) noexcept {
  std::free(data);
}

namespace autocircuit::test {

OnAllocation::OnAllocation(std::function<void()> before)
    : before_(std::move(before)) {
  static const bool watched = [] {
    const WorkspaceScope pool; // in front of LibTorch's own, from now on
    c10::SetCPUAllocator(
        new WatchedAllocator(c10::GetCPUAllocator()), /*priority=*/1);
    return true;
  }();
  (void)watched;
  before_allocation = &before_;
}

OnAllocation::~OnAllocation() {
  before_allocation = nullptr;
}

void run_out_of_memory() {
  TORCH_CHECK_WITH(OutOfMemoryError, false, "out of native memory: a test");
}

int fail_at_every_allocation(
    const std::function<void()>& body,
    const std::function<void()>& failed) {
  for (int failures = 0;; failures++) {
    int left = failures;
    try {
      const OnAllocation fail([&] {
        if (left-- == 0) {
          run_out_of_memory();
        }
      });
      body();
      return failures;
    } catch (const c10::OutOfMemoryError&) {
      failed();
    }
  }
}

NothingLeft::NothingLeft(int but) {
  news_left = but;
}

NothingLeft::~NothingLeft() {
  news_left = -1;
}

} // namespace autocircuit::test
