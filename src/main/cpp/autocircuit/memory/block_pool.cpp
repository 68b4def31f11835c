#include "autocircuit/memory/block_pool.h"

#include <algorithm>
#include <bit>
#include <iterator>
#include <memory>
#include <utility>

namespace autocircuit {

size_t block_size(size_t bytes) {
  const size_t step = std::bit_floor(bytes) / 4;
  return (bytes + step - 1) / step * step;
}

void* BlockPool::take(size_t bytes) {
  const size_t size = block_size(bytes);
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
  const auto free = [this](void* data) { source_.give_back(data); };
  std::unique_ptr<void, decltype(free)> data(source_.take(size), free);
  if (data == nullptr) {
    // Idle buffers of other sizes may hold the missing memory.
    free_idle();
    data.reset(source_.take(size));
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

bool BlockPool::give_back(void* data) noexcept {
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

void BlockPool::reset_most() {
  const std::lock_guard<std::mutex> lock(mutex_);
  most_leased_ = leased_;
  most_held_ = leased_ + idle_;
}

void BlockPool::set_limit(size_t bytes) {
  Blocks freed;
  {
    const std::lock_guard<std::mutex> lock(mutex_);
    limit_ = bytes;
    freed = oldest_beyond(limit_);
  }
  free_all(freed);
}

size_t BlockPool::limit() {
  const std::lock_guard<std::mutex> lock(mutex_);
  return limit_;
}

WorkspaceStats BlockPool::stats() {
  const std::lock_guard<std::mutex> lock(mutex_);
  return {
      .leased_bytes = static_cast<int64_t>(leased_),
      .idle_bytes = static_cast<int64_t>(idle_),
      .most_leased = static_cast<int64_t>(most_leased_),
      .most_held = static_cast<int64_t>(most_held_),
      .fresh_blocks = fresh_};
}

BlockPool::Blocks BlockPool::oldest_beyond(size_t keep) noexcept {
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

void BlockPool::free_idle() {
  Blocks freed;
  {
    const std::lock_guard<std::mutex> lock(mutex_);
    freed = oldest_beyond(0);
  }
  free_all(freed);
}

void BlockPool::free_all(const Blocks& blocks) noexcept {
  for (const Block& block : blocks) {
    source_.give_back(block.data);
  }
}

void BlockPool::count_leased(size_t size) {
  leased_ += size;
  most_leased_ = std::max(most_leased_, leased_);
  most_held_ = std::max(most_held_, leased_ + idle_);
}

} // namespace autocircuit
