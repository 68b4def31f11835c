#include "autocircuit/model/packed_tokens.h"

#include <ATen/Parallel.h>
#include <ATen/ops/arange.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/softmax.h>
#include <ATen/ops/tanh.h>
#include <ATen/ops/tensor.h>

#include <algorithm>
#include <limits>
#include <utility>

#include "autocircuit/kernels/attention_kernels.h"
#include "autocircuit/kernels/tensors.h"
#include "autocircuit/model/precision.h"
#include "autocircuit/ops/product.h"

namespace autocircuit {

namespace {

static_assert(Sequence::kLanes == kernels::kKeyLanes);

/// One token's queries of the heads that share a key/value head.
struct Task {
  kernels::Attention attention;
  int64_t first_row; // of the queries
  int64_t rows;
};

int64_t first_seen(int64_t position, int64_t window) {
  return window > 0 ? std::max<int64_t>(position - window + 1, 0) : 0;
}

// z of one chunk from LibTorch's operations; q [tokens, heads, d_head], scaled.
at::Tensor plain_attend(
    const Chunk& chunk,
    int64_t block,
    const at::Tensor& q,
    const ScoreShape& shape) {
  const Sequence& sequence = *chunk.sequence;
  const int64_t kv_heads = sequence.shape().kv_heads;
  const int64_t heads = q.size(1);
  const int64_t length = chunk.position + chunk.tokens;
  const at::Tensor keys =
      sequence.keys(block).squeeze(1).narrow(2, 0, length); // [kv, d, length]
  const at::Tensor values = sequence.values(block).narrow(1, 0, length);
  // Queries of the heads that share keys lie one after another.
  const at::Tensor queries =
      q.view({chunk.tokens, kv_heads, heads / kv_heads, -1})
          .permute({1, 2, 0, 3})
          .reshape({kv_heads, -1, q.size(2)});
  const at::ScalarType wide = accumulation_type(q.scalar_type());
  at::Tensor scores = product(queries, keys).to(wide);
  if (shape.soft_cap > 0) {
    scores = at::tanh(scores / shape.soft_cap) * shape.soft_cap;
  }
  const at::TensorOptions ids = q.options().dtype(at::kLong);
  const at::Tensor back = at::arange(chunk.position, length, ids).unsqueeze(1) -
      at::arange(length, ids);
  at::Tensor hidden = back < 0;
  if (shape.window > 0) {
    hidden = hidden | (back >= shape.window);
  }
  scores = scores.view({kv_heads, -1, chunk.tokens, length})
               .masked_fill(hidden, -std::numeric_limits<double>::infinity());
  const at::Tensor pattern =
      at::softmax(scores, -1).to(q.scalar_type()).view({kv_heads, -1, length});
  return product(pattern, values)
      .view({kv_heads, heads / kv_heads, chunk.tokens, -1})
      .permute({2, 0, 1, 3})
      .reshape({chunk.tokens, heads, -1});
}

} // namespace

PackedTokens::PackedTokens(
    std::vector<Chunk> chunks,
    std::vector<int64_t> wanted,
    at::Device device)
    : chunks_(std::move(chunks)) {
  std::vector<int64_t> positions;
  for (const Chunk& chunk : chunks_) {
    longest_ = std::max(longest_, chunk.position + chunk.tokens);
    for (int64_t i = 0; i < chunk.tokens; i++) {
      positions.push_back(chunk.position + i);
    }
  }
  positions_ = at::tensor(positions, at::kLong).to(device);
  wanted_ = at::tensor(wanted, at::kLong).to(device);
}

at::Tensor PackedTokens::attend(
    int64_t block,
    int64_t first,
    const at::Tensor& q,
    const at::Tensor& k,
    const at::Tensor& v,
    const ScoreShape& shape) const {
  const int64_t n = q.size(1);
  const int64_t heads = q.size(2);
  const int64_t d_head = q.size(3);
  const at::Tensor queries = (q.squeeze(0) * shape.scale).contiguous();
  const at::Tensor z = at::empty({1, n, heads, d_head}, q.options());
  std::vector<Task> tasks;
  int64_t work = 0;
  int64_t longest = 0;
  for (const Chunk& chunk : chunks_) {
    const int64_t at = chunk.first - first;
    if (at < 0 || at >= n) {
      continue;
    }
    chunk.sequence->write(
        block,
        chunk.position,
        k[0].narrow(0, at, chunk.tokens),
        v[0].narrow(0, at, chunk.tokens));
    if (!fits_kernels(queries)) {
      z[0].narrow(0, at, chunk.tokens)
          .copy_(plain_attend(
              chunk, block, queries.narrow(0, at, chunk.tokens), shape));
      continue;
    }
    const int64_t length = chunk.position + chunk.tokens;
    longest = std::max(longest, length);
    work += chunk.tokens * length * heads * d_head;
    const at::Tensor keys = chunk.sequence->keys(block);
    const at::Tensor values = chunk.sequence->values(block);
    const int64_t shared = heads / keys.size(0);
    for (int64_t i = 0; i < chunk.tokens; i++) {
      for (int64_t h = 0; h < keys.size(0); h++) {
        tasks.push_back(
            {.attention =
                 {.keys = keys.const_data_ptr<float>() + h * keys.stride(0),
                  .values =
                      values.const_data_ptr<float>() + h * values.stride(0),
                  .from = first_seen(chunk.position + i, shape.window),
                  .to = chunk.position + i + 1,
                  .d_head = d_head,
                  .soft_cap = static_cast<float>(shape.soft_cap)},
             .first_row = (at + i) * heads + h * shared,
             .rows = shared});
      }
    }
  }
  const auto size = static_cast<int64_t>(tasks.size());
  const auto* from = size > 0 ? queries.const_data_ptr<float>() : nullptr;
  auto* to = size > 0 ? z.mutable_data_ptr<float>() : nullptr;
  const int64_t each = work / std::max<int64_t>(size, 1);
  at::parallel_for(0, size, grain(each), [&](int64_t begin, int64_t end) {
    std::vector<float> scratch(static_cast<size_t>(
        kernels::attention_scratch(heads, longest, d_head)));
    for (int64_t i = begin; i < end; i++) {
      const auto& [attention, first_row, rows] = tasks[static_cast<size_t>(i)];
      kernels::attend(
          {to + first_row * d_head, d_head},
          {from + first_row * d_head, d_head},
          rows,
          attention,
          scratch.data());
    }
  });
  return z;
}

} // namespace autocircuit
