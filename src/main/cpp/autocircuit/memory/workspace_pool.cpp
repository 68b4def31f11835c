#include "autocircuit/memory/workspace_pool.h"

#include <c10/core/CPUAllocator.h>
#include <c10/util/Exception.h>
#include <sys/mman.h>

#include <algorithm>
#include <bit>
#include <cstdlib>
#include <list>
#include <map>
#include <memory>
#include <mutex>
#include <new>
#include <unordered_map>
#include <utility>

namespace autocircuit {

namespace {

// Smaller tensors are malloc's business: it does not give them back.
constexpr size_t kSmallest = size_t{16} << 10U;
constexpr size_t kHugePage = size_t{2} << 20U;
constexpr int64_t kDefaultLimit = int64_t{1} << 30U;

// The number of WorkspaceScopes open on this thread.
thread_local int scope_depth = 0;

// Sizes are rounded up to one of four steps for each power of two, so that a
// block fits the next tensor of about that size.
size_t size_class(size_t bytes) {
  const size_t step = std::bit_floor(bytes) / 4;
  return (bytes + step - 1) / step * step;
}

/// Idle blocks by size, and in the order in which they were given back; leased
/// ones by address. What is needed to list a block is made when it is leased
/// for the first time and kept as long as the block is: tensors are freed where
/// nothing may throw, so giving back allocates nothing.
class Pool {
 public:
  /// The memory of a block, or nullptr.
  void* take(size_t bytes) {
    const size_t size = size_class(bytes);
    {
      const std::lock_guard<std::mutex> lock(mutex_);
      const auto found = by_size_.find(size);
      if (found != by_size_.end()) {
        void* data = found->second->data;
        Lease& lease = leases_[data]; // before anything changes
        lease.block.splice(lease.block.begin(), by_age_, found->second);
        lease.size = by_size_.extract(found);
        idle_ -= size;
        count_leased(size);
        return data;
      }
    }
    Lease lease;
    lease.block.push_front({nullptr, size});
    BySize sizes;
    sizes.emplace(size, lease.block.begin());
    lease.size = sizes.extract(sizes.begin());
    std::unique_ptr<void, decltype(&std::free)> data(map(size), &std::free);
    if (data == nullptr) {
      // Idle buffers of other sizes may hold the missing memory.
      free_idle();
      data.reset(map(size));
    }
    if (data != nullptr) {
      lease.block.front().data = data.get();
      const std::lock_guard<std::mutex> lock(mutex_);
      leases_.emplace(data.get(), std::move(lease));
      fresh_++;
      count_leased(size);
    }
    return data.release();
  }

  /// False if the memory is not the pool's.
  bool give_back(void* data) noexcept {
    Blocks freed;
    {
      const std::lock_guard<std::mutex> lock(mutex_);
      const auto found = leases_.find(data);
      if (found == leases_.end()) {
        return false;
      }
      Lease& lease = found->second;
      const size_t size = lease.block.front().size;
      leased_ -= size;
      idle_ += size;
      by_age_.splice(by_age_.begin(), lease.block);
      by_size_.insert(std::move(lease.size));
      leases_.erase(found);
      freed = oldest_beyond(limit_);
    }
    free_all(freed);
    return true;
  }

  void reset_most_leased() {
    const std::lock_guard<std::mutex> lock(mutex_);
    most_leased_ = leased_;
  }

  void set_limit(size_t bytes) {
    Blocks freed;
    {
      const std::lock_guard<std::mutex> lock(mutex_);
      limit_ = bytes;
      freed = oldest_beyond(limit_);
    }
    free_all(freed);
  }

  size_t limit() {
    const std::lock_guard<std::mutex> lock(mutex_);
    return limit_;
  }

  WorkspaceStats stats() {
    const std::lock_guard<std::mutex> lock(mutex_);
    return {
        .leased_bytes = static_cast<int64_t>(leased_),
        .idle_bytes = static_cast<int64_t>(idle_),
        .most_leased = static_cast<int64_t>(most_leased_),
        .fresh_blocks = fresh_};
  }

 private:
  struct Block {
    void* data;
    size_t size;
  };
  using Blocks = std::list<Block>;
  using BySize = std::multimap<size_t, Blocks::iterator>;
  /// The nodes of a leased block in the lists of idle ones.
  struct Lease {
    Blocks block;
    BySize::node_type size;
  };

  static void* map(size_t size) {
    // Huge pages where the system has them: fewer faults, fewer TLB misses.
    const size_t alignment = size < kHugePage ? size_t{64} : kHugePage;
    void* data = std::aligned_alloc(
        alignment, (size + alignment - 1) / alignment * alignment);
    if (data != nullptr && size >= kHugePage) {
      madvise(data, size, MADV_HUGEPAGE);
    }
    return data;
  }

  /// Takes out the blocks that have been idle longest until so many bytes are
  /// left. With the lock held.
  Blocks oldest_beyond(size_t keep) noexcept {
    Blocks taken;
    while (idle_ > keep) {
      const auto oldest = std::prev(by_age_.end());
      auto [entry, last] = by_size_.equal_range(oldest->size);
      while (entry != last && entry->second != oldest) {
        ++entry;
      }
      by_size_.erase(entry);
      idle_ -= oldest->size;
      taken.splice(taken.begin(), by_age_, oldest);
    }
    return taken;
  }

  void free_idle() {
    Blocks freed;
    {
      const std::lock_guard<std::mutex> lock(mutex_);
      freed = oldest_beyond(0);
    }
    free_all(freed);
  }

  // Without the lock: the system takes its time.
  static void free_all(const Blocks& blocks) noexcept {
    for (const Block& block : blocks) {
      std::free(block.data);
    }
  }

  void count_leased(size_t size) {
    leased_ += size;
    most_leased_ = std::max(most_leased_, leased_);
  }

  std::mutex mutex_;
  Blocks by_age_;
  BySize by_size_;
  std::unordered_map<void*, Lease> leases_;
  size_t idle_ = 0;
  size_t leased_ = 0;
  size_t most_leased_ = 0;
  size_t limit_ = kDefaultLimit;
  int64_t fresh_ = 0;
};

// Never destroyed: tensors may outlive every static.
Pool& pool() {
  static Pool* const instance = new Pool;
  return *instance;
}

/// LibTorch's CPU allocator, with the pool in front of it.
class WorkspaceAllocator final : public c10::Allocator {
 public:
  explicit WorkspaceAllocator(c10::Allocator* otherwise) {
    otherwise_ = otherwise;
  }

  c10::DataPtr allocate(size_t bytes) override {
    if (scope_depth == 0 || bytes < kSmallest) {
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

void install() {
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

void reset_most_leased() {
  pool().reset_most_leased();
}

void set_workspace_limit(int64_t bytes) {
  TORCH_CHECK(bytes >= 0, "expected a limit of at least 0 bytes, got ", bytes);
  pool().set_limit(static_cast<size_t>(bytes));
}

int64_t workspace_limit() {
  return static_cast<int64_t>(pool().limit());
}

WorkspaceScope::WorkspaceScope() {
  install();
  scope_depth++;
}

WorkspaceScope::~WorkspaceScope() {
  scope_depth--;
}

} // namespace autocircuit
