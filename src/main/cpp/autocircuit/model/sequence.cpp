#include "autocircuit/model/sequence.h"

#include <ATen/ops/empty.h>
#include <c10/util/Exception.h>

#include <algorithm>
#include <utility>

#include "autocircuit/kernels/tensors.h"

namespace autocircuit {

namespace {

// Other types and devices have all keys beside each other, as the operand of
// one product.
int64_t lanes_of(int64_t capacity, const at::TensorOptions& options) {
  return options.device().is_cpu() && options.dtype() == at::kFloat
      ? Sequence::kLanes
      : capacity;
}

int64_t rounded_up(int64_t n, int64_t to) {
  return (n + to - 1) / to * to;
}

// Each head's row of a token, of heads that may be fewer.
at::Tensor for_heads(const at::Tensor& x, int64_t heads) {
  return x.size(1) == heads ? x : x.repeat_interleave(heads / x.size(1), 1);
}

void write_keys(
    const at::Tensor& to, // [kv_heads, blocks, d_head, lanes]
    int64_t position,
    const at::Tensor& keys) {
  const int64_t lanes = to.size(3);
  const int64_t d_head = to.size(2);
  auto* data = to.mutable_data_ptr<float>();
  const auto* from = keys.const_data_ptr<float>();
  for (int64_t t = 0; t < keys.size(0); t++) {
    const int64_t at = position + t;
    for (int64_t h = 0; h < keys.size(1); h++) {
      const float* key = from + t * keys.stride(0) + h * keys.stride(1);
      float* column =
          data + h * to.stride(0) + at / lanes * to.stride(1) + at % lanes;
      for (int64_t i = 0; i < d_head; i++) {
        column[i * lanes] = key[i];
      }
    }
  }
}

} // namespace

Sequence::Sequence(
    const CacheShape& shape,
    int64_t capacity,
    const at::TensorOptions& options,
    uint64_t owner)
    : shape_(shape), capacity_(capacity), owner_(owner) {
  TORCH_CHECK(
      capacity > 0,
      "expected a capacity of 1 or more positions, got ",
      capacity);
  const int64_t lanes = lanes_of(capacity, options);
  keys_ = at::empty(
      {shape.layers,
       shape.kv_heads,
       (capacity + lanes - 1) / lanes,
       shape.d_head,
       lanes},
      options);
  values_ = at::empty(
      {shape.layers, shape.kv_heads, capacity, shape.d_head}, options);
}

int64_t Sequence::bytes(
    const CacheShape& shape,
    int64_t capacity,
    const at::TensorOptions& options) {
  const int64_t keys = rounded_up(capacity, lanes_of(capacity, options));
  return shape.layers * shape.kv_heads * shape.d_head * (keys + capacity) *
      static_cast<int64_t>(options.dtype().itemsize());
}

std::shared_ptr<Sequence> Sequence::fork(int64_t length, int64_t capacity)
    const {
  TORCH_CHECK(
      length >= 0 && length <= length_ && length <= capacity,
      "expected a length of 0 to ",
      std::min(length_, capacity),
      ", got ",
      length);
  auto fork =
      std::make_shared<Sequence>(shape_, capacity, keys_.options(), owner_);
  fork->length_ = length;
  fork->values_.narrow(2, 0, length).copy_(values_.narrow(2, 0, length));
  if (lanes() == fork->lanes()) {
    const int64_t blocks = (length + lanes() - 1) / lanes();
    fork->keys_.narrow(2, 0, blocks).copy_(keys_.narrow(2, 0, blocks));
  } else {
    fork->keys_.narrow(4, 0, length).copy_(keys_.narrow(4, 0, length));
  }
  return fork;
}

void Sequence::write(
    int64_t block,
    int64_t position,
    const at::Tensor& keys,
    const at::Tensor& values) {
  const int64_t tokens = keys.size(0);
  const at::Tensor k = for_heads(keys, shape_.kv_heads);
  const at::Tensor to = this->keys(block);
  if (fits_kernels(k)) {
    write_keys(to, position, k);
  } else {
    to.squeeze(1).narrow(2, position, tokens).copy_(k.permute({1, 2, 0}));
  }
  this->values(block)
      .narrow(1, position, tokens)
      .copy_(for_heads(values, shape_.kv_heads).transpose(0, 1));
}

SequenceLease::SequenceLease(std::shared_ptr<Sequence> sequence)
    : sequence_(std::move(sequence)) {
  if (sequence_->leased_.exchange(true)) {
    sequence_ = nullptr;
    TORCH_CHECK(
        false,
        "a sequence is in a step already: one step at a time works on it, and "
        "each step has it once");
  }
}

SequenceLease::~SequenceLease() {
  if (sequence_ != nullptr) {
    sequence_->leased_ = false;
  }
}

} // namespace autocircuit
