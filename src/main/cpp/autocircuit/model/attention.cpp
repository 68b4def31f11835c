#include "autocircuit/model/attention.h"

#include <ATen/ops/addmm.h>
#include <ATen/ops/baddbmm.h>
#include <ATen/ops/cat.h>
#include <ATen/ops/full.h>
#include <ATen/ops/matmul.h>
#include <ATen/ops/softmax.h>

#include <cmath>
#include <limits>

namespace autocircuit {

Attention::Attention(
    const Weights& weights,
    const std::string& prefix,
    int64_t d_model,
    int64_t n_heads,
    int64_t d_head,
    AttentionHooks hook_ids)
    : n_heads_(n_heads),
      d_head_(d_head),
      w_qkv_(weights.get(prefix + ".W_QKV", {d_model, 3 * n_heads * d_head})),
      b_qkv_(weights.get(prefix + ".b_QKV", {3 * n_heads * d_head})),
      w_o_(weights.get(prefix + ".W_O", {n_heads * d_head, d_model})),
      b_o_(weights.get(prefix + ".b_O", {d_model})),
      hook_ids_(hook_ids) {}

at::Tensor Attention::project(const at::Tensor& x) const {
  const int64_t d_model = x.size(-1);
  if (x.dim() == 3) {
    return at::addmm(b_qkv_, x.reshape({-1, d_model}), w_qkv_)
        .view({x.size(0), x.size(1), 3 * n_heads_, d_head_})
        .permute({2, 0, 1, 3});
  }
  const int64_t rows = x.size(0);
  const at::Tensor flat = x.reshape({rows, -1, d_model});
  const at::Tensor w = w_qkv_.view({d_model, 3 * n_heads_, d_head_})
                           .permute({1, 0, 2}); // [3 heads, d_model, d_head]
  const at::Tensor b = b_qkv_.view({3 * n_heads_, 1, d_head_});
  at::Tensor qkv; // [3 heads, batch * seq, d_head]
  if (rows == 3 * n_heads_) {
    qkv = at::baddbmm(b, flat, w);
  } else {
    // One input serves a head's q, k and v.
    std::vector<at::Tensor> parts;
    for (int64_t part = 0; part < 3; part++) {
      parts.push_back(at::baddbmm(
          b.narrow(0, part * n_heads_, n_heads_),
          flat,
          w.narrow(0, part * n_heads_, n_heads_)));
    }
    qkv = at::cat(parts);
  }
  return qkv.view({3 * n_heads_, x.size(1), x.size(2), d_head_});
}

at::Tensor Attention::operator()(const at::Tensor& x, Hooks& hooks) const {
  const at::Tensor qkv = project(x);
  const int64_t batch = qkv.size(1);
  const int64_t seq = qkv.size(2);
  const auto part = [&](int64_t i) { // [batch, heads, seq, d_head]
    return qkv.narrow(0, i * n_heads_, n_heads_).transpose(0, 1);
  };
  const at::Tensor q = part(0);
  const at::Tensor k = part(1);
  const at::Tensor v = part(2);
  hooks.read(hook_ids_.q, q.transpose(1, 2));
  hooks.read(hook_ids_.k, k.transpose(1, 2));
  hooks.read(hook_ids_.v, v.transpose(1, 2));

  const at::Tensor future =
      at::full(
          {seq, seq}, -std::numeric_limits<double>::infinity(), x.options())
          .triu(1);
  const double scale = 1 / std::sqrt(static_cast<double>(d_head_));
  const at::Tensor scores = at::matmul(q * scale, k.transpose(-2, -1)) +
      future; // [batch, heads, seq, seq]
  hooks.read(hook_ids_.scores, scores);
  const at::Tensor pattern = at::softmax(scores, -1);
  hooks.read(hook_ids_.pattern, pattern);
  const at::Tensor z =
      at::matmul(pattern, v).transpose(1, 2); // [batch, seq, heads, d_head]
  hooks.read(hook_ids_.z, z);

  const at::Tensor flat_z = z.reshape({-1, n_heads_, d_head_});
  const int64_t d_model = w_o_.size(1);
  hooks.head_outputs(
      hook_ids_.result,
      flat_z.transpose(0, 1),
      w_o_.view({n_heads_, d_head_, d_model}),
      {n_heads_, batch, seq, d_model});
  return at::addmm(b_o_, flat_z.flatten(1), w_o_).view({batch, seq, d_model});
}

} // namespace autocircuit
