#pragma once

#include <ATen/core/Tensor.h>

#include <array>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <numeric>

// Counts the memory that a pass takes, without the memory: the pass itself
// runs, on tensors of LibTorch's meta device, which have shapes and no numbers,
// and a pool without memory counts what it leases. So nothing has to say twice
// what an executor needs.
namespace autocircuit {

/// Says what bytes are for.
enum class MemoryPart : size_t {
  kActivations, // whatever is nothing else
  kMasks,
  kDeltas,
  kLogits,
  kGradients,
  kCaches // keys and values of prefixes and sequences
};
constexpr size_t kMemoryParts = 6;

/// While one is alive on a thread, tensors that it makes are for this.
class MemoryPartScope {
 public:
  explicit MemoryPartScope(MemoryPart part);
  ~MemoryPartScope();
  MemoryPartScope(const MemoryPartScope&) = delete;
  MemoryPartScope& operator=(const MemoryPartScope&) = delete;
  MemoryPartScope(MemoryPartScope&&) = delete;
  MemoryPartScope& operator=(MemoryPartScope&&) = delete;

 private:
  MemoryPart before_;
};

struct RehearsedMemory {
  /// Bytes of blocks by part, when most was leased.
  std::array<int64_t, kMemoryParts> parts{};
  /// Bytes that the pool holds at most beyond that: idle blocks of other sizes.
  int64_t idle = 0;
  /// Bytes that tensors take at most that are too small for the pool.
  int64_t small = 0;

  /// Returns the bytes that tensors take at most.
  int64_t in_use() const {
    return std::accumulate(parts.begin(), parts.end(), small);
  }
};

/// While one is alive on a thread, meta tensors that the thread makes are
/// counted as those on the CPU are within a WorkspaceScope. Those for whose
/// numbers an executor would wait have none: it goes on as it mostly would.
/// Not nested.
class Rehearsal {
 public:
  /// on_cpu: whether the tensors stand for some on the CPU, so that the kernels
  /// make what they would return there, and compute nothing; if not, for some
  /// on another device. idle_limit: as of set_workspace_limit.
  Rehearsal(bool on_cpu, int64_t idle_limit);
  ~Rehearsal();
  Rehearsal(const Rehearsal&) = delete;
  Rehearsal& operator=(const Rehearsal&) = delete;
  Rehearsal(Rehearsal&&) = delete;
  Rehearsal& operator=(Rehearsal&&) = delete;

  RehearsedMemory most() const;

  class Count;

 private:
  std::shared_ptr<Count> count_;
};

/// Returns whether a tensor stands for one with numbers.
bool is_rehearsed(const at::Tensor& x);

/// Returns whether a tensor is on the CPU, or stands for one that is.
bool is_on_cpu(const at::Tensor& x);

} // namespace autocircuit
