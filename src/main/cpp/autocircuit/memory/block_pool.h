#pragma once

#include <cstddef>
#include <cstdint>
#include <list>
#include <map>
#include <mutex>
#include <unordered_map>

#include "autocircuit/memory/workspace_pool.h"

namespace autocircuit {

// Smaller tensors are malloc's business: it does not give them back.
constexpr size_t kSmallestBlock = size_t{16} << 10U;

/// Rounds the size of a block that holds so many bytes up to one of four steps
/// for each power of two, so that it fits the next tensor of about that size.
size_t block_size(size_t bytes);

/// Provides the memory of blocks.
class BlockSource {
 public:
  virtual ~BlockSource() = default;
  /// Returns nullptr where there is none left.
  virtual void* take(size_t size) = 0;
  virtual void give_back(void* data) noexcept = 0;
};

/// Idle blocks by size, and in the order in which they were given back; leased
/// ones by address. What is needed to list a block is made when it is leased
/// for the first time and kept as long as the block is: tensors are freed where
/// nothing may throw, so giving back allocates nothing.
class BlockPool {
 public:
  /// limit: idle bytes that are kept.
  BlockPool(BlockSource& source, size_t limit)
      : source_(source), limit_(limit) {}

  /// The memory of a block, or nullptr.
  void* take(size_t bytes);
  /// False if the memory is not the pool's.
  bool give_back(void* data) noexcept;

  /// Restarts the counts of what was leased and held at most.
  void reset_most();
  void set_limit(size_t bytes);
  size_t limit();
  WorkspaceStats stats();

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

  /// Takes out the blocks that have been idle longest until so many bytes are
  /// left. With the lock held.
  Blocks oldest_beyond(size_t keep) noexcept;
  void free_idle();
  // Without the lock: the system takes its time.
  void free_all(const Blocks& blocks) noexcept;
  void count_leased(size_t size);

  BlockSource& source_;
  std::mutex mutex_;
  Blocks by_age_;
  BySize by_size_;
  std::unordered_map<void*, Lease> leases_;
  size_t idle_ = 0;
  size_t leased_ = 0;
  size_t most_leased_ = 0;
  size_t most_held_ = 0;
  size_t limit_;
  int64_t fresh_ = 0;
};

} // namespace autocircuit
