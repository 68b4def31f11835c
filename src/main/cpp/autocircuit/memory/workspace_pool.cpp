#include "autocircuit/memory/workspace_pool.h"

#include <c10/core/CPUAllocator.h>
#include <c10/util/Exception.h>
#include <sys/mman.h>

#include <cstdlib>

#include "autocircuit/memory/block_pool.h"

namespace autocircuit {

namespace {

constexpr size_t kHugePage = size_t{2} << 20U;
constexpr size_t kDefaultLimit = size_t{1} << 30U;

// The number of WorkspaceScopes open on this thread.
thread_local int scope_depth = 0;

class SystemMemory final : public BlockSource {
 public:
  void* take(size_t size) override {
    // Huge pages where the system has them: fewer faults, fewer TLB misses.
    const size_t alignment = size < kHugePage ? size_t{64} : kHugePage;
    void* data = std::aligned_alloc(
        alignment, (size + alignment - 1) / alignment * alignment);
    if (data != nullptr && size >= kHugePage) {
      madvise(data, size, MADV_HUGEPAGE);
    }
    return data;
  }

  void give_back(void* data) noexcept override {
    std::free(data);
  }
};

// Never destroyed: tensors may outlive every static.
BlockPool& pool() {
  static auto* const system = new SystemMemory;
  static auto* const instance = new BlockPool(*system, kDefaultLimit);
  return *instance;
}

/// LibTorch's CPU allocator, with the pool in front of it.
class WorkspaceAllocator final : public c10::Allocator {
 public:
  explicit WorkspaceAllocator(c10::Allocator* otherwise) {
    otherwise_ = otherwise;
  }

  c10::DataPtr allocate(size_t bytes) override {
    if (scope_depth == 0 || bytes < kSmallestBlock) {
      return otherwise_->allocate(bytes);
    }
    void* data = pool().take(bytes);
    TORCH_CHECK_WITH(
        OutOfMemoryError,
        data != nullptr,
        "out of native memory: could not allocate ",
        bytes,
        " bytes");
    return {data, data, &release, at::Device(at::kCPU)};
  }

  c10::DeleterFnPtr raw_deleter() const override {
    return &release;
  }

  void copy_data(void* to, const void* from, std::size_t bytes) const override {
    default_copy_data(to, from, bytes);
  }

 private:
  // Of whichever of the two allocated it: LibTorch also frees by address alone.
  static void release(void* data) {
    if (!pool().give_back(data)) {
      otherwise_->raw_deleter()(data);
    }
  }

  static inline c10::Allocator* otherwise_ = nullptr;
};

void install_pool() {
  static const bool once = [] {
    c10::SetCPUAllocator(
        new WorkspaceAllocator(c10::GetCPUAllocator()), /*priority=*/1);
    return true;
  }();
  (void)once;
}

} // namespace

WorkspaceStats workspace_stats() {
  return pool().stats();
}

void reset_most_workspace() {
  pool().reset_most();
}

void set_workspace_limit(int64_t bytes) {
  TORCH_CHECK(bytes >= 0, "expected a limit of at least 0 bytes, got ", bytes);
  pool().set_limit(static_cast<size_t>(bytes));
}

int64_t workspace_limit() {
  return static_cast<int64_t>(pool().limit());
}

WorkspaceScope::WorkspaceScope() {
  install_pool();
  scope_depth++;
}

WorkspaceScope::~WorkspaceScope() {
  scope_depth--;
}

} // namespace autocircuit
