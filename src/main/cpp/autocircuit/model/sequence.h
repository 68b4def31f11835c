#pragma once

#include <ATen/core/Tensor.h>

#include <atomic>
#include <cstdint>
#include <memory>

namespace autocircuit {

/// Sizes of the keys and values that are kept of each position in every block.
struct CacheShape {
  int64_t layers = 0;
  int64_t heads = 0;    // query heads
  int64_t kv_heads = 0; // whose keys and values are kept
  int64_t d_head = 0;
};

/// The keys, rotated, and the values of a sequence that grows. They come from
/// what its heads really read, patched or not, so they belong to its tokens and
/// to its patches alike, and no other sequence shares them.
///
/// Positions up to `length` never change; those beyond it may be written any
/// number of times until `commit` makes them part of the sequence. One step at
/// a time works on it; see SequenceLease.
class Sequence {
 public:
  /// Keys that lie beside each other where the kernel reads them.
  static constexpr int64_t kLanes = 64;

  /// owner: of the model that alone may add to it.
  Sequence(
      const CacheShape& shape,
      int64_t capacity,
      const at::TensorOptions& options,
      uint64_t owner);

  /// The bytes that one takes.
  static int64_t bytes(
      const CacheShape& shape,
      int64_t capacity,
      const at::TensorOptions& options);

  /// A sequence with the first `length` positions of this one.
  std::shared_ptr<Sequence> fork(int64_t length, int64_t capacity) const;

  /// Writes what positions from `position` on have in a block: rotated keys and
  /// values [tokens, heads, d_head], of its heads or of fewer, each of which is
  /// then that of as many heads one after another.
  void write(
      int64_t block,
      int64_t position,
      const at::Tensor& keys,
      const at::Tensor& values);

  void commit(int64_t length) {
    length_ = length;
  }

  const CacheShape& shape() const {
    return shape_;
  }
  uint64_t owner() const {
    return owner_;
  }
  int64_t length() const {
    return length_;
  }
  int64_t capacity() const {
    return capacity_;
  }
  /// Keys that lie beside each other: kLanes, or all.
  int64_t lanes() const {
    return keys_.size(4);
  }
  /// Keys of a block, [kv_heads, ceil(capacity / lanes), d_head, lanes]: those
  /// of some positions beside each other, dimension by dimension.
  at::Tensor keys(int64_t block) const {
    return keys_.select(0, block);
  }
  /// Values of a block, [kv_heads, capacity, d_head].
  at::Tensor values(int64_t block) const {
    return values_.select(0, block);
  }

 private:
  friend class SequenceLease;

  CacheShape shape_;
  int64_t capacity_;
  uint64_t owner_;
  int64_t length_ = 0;
  at::Tensor keys_;   // [layers, kv_heads, blocks of lanes, d_head, lanes]
  at::Tensor values_; // [layers, kv_heads, capacity, d_head]
  std::atomic<bool> leased_ = false;
};

/// Keeps other steps from a sequence while one works on it; throws if another
/// does.
class SequenceLease {
 public:
  explicit SequenceLease(std::shared_ptr<Sequence> sequence);
  ~SequenceLease();
  SequenceLease(SequenceLease&& other) noexcept = default;
  SequenceLease(const SequenceLease&) = delete;
  SequenceLease& operator=(const SequenceLease&) = delete;
  SequenceLease& operator=(SequenceLease&&) = delete;

 private:
  std::shared_ptr<Sequence> sequence_;
};

} // namespace autocircuit
