#include "autocircuit/memory/rehearsal.h"

#include <c10/core/Allocator.h>
#include <c10/util/Exception.h>

#include <algorithm>
#include <memory>
#include <utility>

#include "autocircuit/memory/block_pool.h"

namespace autocircuit {

namespace {

thread_local MemoryPart current_part = MemoryPart::kActivations;
thread_local std::shared_ptr<Rehearsal::Count> current_count;

/// Provides addresses that nothing is at, each once.
class NoMemory final : public BlockSource {
 public:
  void* take(size_t size) override {
    (void)size;
    return reinterpret_cast<void*>(++last_);
  }

  void give_back(void* data) noexcept override {
    (void)data;
  }

 private:
  uintptr_t last_ = 0;
};

} // namespace

class Rehearsal::Count {
 public:
  Count(bool on_cpu, int64_t idle_limit)
      : on_cpu_(on_cpu), pool_(memory_, static_cast<size_t>(idle_limit)) {}

  bool on_cpu() const {
    return on_cpu_;
  }

  /// Returns what is to be given back: nullptr for small tensors.
  void* take(size_t bytes, MemoryPart part) {
    if (bytes < kSmallestBlock) {
      small_ += static_cast<int64_t>(bytes);
      most_.small = std::max(most_.small, small_);
      return nullptr;
    }
    void* data = pool_.take(bytes);
    parts_[static_cast<size_t>(part)] +=
        static_cast<int64_t>(block_size(bytes));
    const WorkspaceStats stats = pool_.stats();
    if (stats.most_leased > most_leased_) {
      most_leased_ = stats.most_leased;
      most_.parts = parts_;
    }
    most_.idle = stats.most_held - stats.most_leased;
    return data;
  }

  void give_back(void* data, size_t bytes, MemoryPart part) noexcept {
    if (data == nullptr) {
      small_ -= static_cast<int64_t>(bytes);
      return;
    }
    pool_.give_back(data);
    parts_[static_cast<size_t>(part)] -=
        static_cast<int64_t>(block_size(bytes));
  }

  const RehearsedMemory& most() const {
    return most_;
  }

 private:
  bool on_cpu_;
  NoMemory memory_;
  BlockPool pool_;
  std::array<int64_t, kMemoryParts> parts_{}; // leased
  int64_t most_leased_ = 0;
  int64_t small_ = 0;
  RehearsedMemory most_;
};

namespace {

/// Stands in a counted tensor where others have their memory.
struct Held {
  std::shared_ptr<Rehearsal::Count> count;
  void* data;
  size_t bytes;
  MemoryPart part;
};

void release(void* context) {
  const std::unique_ptr<Held> held(static_cast<Held*>(context));
  held->count->give_back(held->data, held->bytes, held->part);
}

/// LibTorch's allocator of meta tensors, with the count in front of it.
class RehearsalAllocator final : public c10::Allocator {
 public:
  explicit RehearsalAllocator(c10::Allocator* otherwise)
      : otherwise_(otherwise) {}

  c10::DataPtr allocate(size_t bytes) override {
    if (current_count == nullptr || bytes == 0) {
      return otherwise_->allocate(bytes);
    }
    auto held = std::make_unique<Held>(
        current_count,
        current_count->take(bytes, current_part),
        bytes,
        current_part);
    return {nullptr, held.release(), &release, at::Device(at::kMeta)};
  }

  c10::DeleterFnPtr raw_deleter() const override {
    return otherwise_->raw_deleter();
  }

  void copy_data(void* to, const void* from, std::size_t bytes) const override {
    otherwise_->copy_data(to, from, bytes);
  }

 private:
  c10::Allocator* otherwise_;
};

void install_rehearsal() {
  static const bool once = [] {
    c10::SetAllocator(
        at::kMeta,
        new RehearsalAllocator(c10::GetAllocator(at::kMeta)),
        /*priority=*/1);
    return true;
  }();
  (void)once;
}

} // namespace

MemoryPartScope::MemoryPartScope(MemoryPart part)
    : before_(std::exchange(current_part, part)) {}

MemoryPartScope::~MemoryPartScope() {
  current_part = before_;
}

Rehearsal::Rehearsal(bool on_cpu, int64_t idle_limit)
    : count_(std::make_shared<Count>(on_cpu, idle_limit)) {
  TORCH_CHECK(current_count == nullptr, "a rehearsal is not rehearsed itself");
  install_rehearsal();
  current_count = count_;
}

Rehearsal::~Rehearsal() {
  current_count = nullptr;
}

RehearsedMemory Rehearsal::most() const {
  return count_->most();
}

bool is_rehearsed(const at::Tensor& x) {
  return current_count != nullptr && x.is_meta();
}

bool is_on_cpu(const at::Tensor& x) {
  return x.is_cpu() || (is_rehearsed(x) && current_count->on_cpu());
}

} // namespace autocircuit
