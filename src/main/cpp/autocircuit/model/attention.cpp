#include "autocircuit/model/attention.h"

#include <ATen/ops/cat.h>
#include <ATen/ops/tanh.h>

#include <algorithm>
#include <utility>

#include "autocircuit/kernels/tensors.h"
#include "autocircuit/model/precision.h"
#include "autocircuit/ops/head_product.h"
#include "autocircuit/ops/product.h"

namespace autocircuit {

namespace {

// The key/value heads [batch, seq, some heads, d_head] of query heads, of which
// there are n_heads in all, one after another.
at::Tensor of_query_heads(
    const at::Tensor& x,
    at::ArrayRef<int64_t> query_heads,
    int64_t n_heads) {
  std::vector<int64_t> index;
  for (const int64_t h : query_heads) {
    index.push_back(h * x.size(2) / n_heads);
  }
  return entries(x, 2, index);
}

// Keys or values [batch, seq, heads, d_head] with those of a prefix in front,
// [1 or batch, prefix, key/value heads, d_head], repeated for query heads that
// have their own.
at::Tensor behind_prefix(
    const at::Tensor& prefix,
    const at::Tensor& tokens,
    at::ArrayRef<int64_t> live,
    int64_t n_heads) {
  const int64_t repeats = tokens.size(2) / prefix.size(2);
  const at::Tensor heads = !live.empty() ? of_query_heads(prefix, live, n_heads)
      : repeats == 1                     ? prefix
                                         : prefix.repeat_interleave(repeats, 2);
  return at::cat({heads.expand({tokens.size(0), -1, -1, -1}), tokens}, 1);
}

// [batch, seq, key/value heads, d_head] for so many query heads: [batch, heads,
// seq, d_head].
at::Tensor for_heads(const at::Tensor& x, int64_t heads) {
  const at::Tensor heads_first = x.transpose(1, 2);
  if (x.size(2) == heads) {
    return heads_first;
  }
  return heads_first.unsqueeze(2)
      .expand({-1, -1, heads / x.size(2), -1, -1})
      .flatten(1, 2);
}

} // namespace

Attention::Attention(
    const Weights& weights,
    const std::string& prefix,
    AttentionShape shape,
    int64_t block,
    AttentionHooks hook_ids)
    : shape_(std::move(shape)), block_(block), hook_ids_(hook_ids) {
  TORCH_CHECK(
      shape_.n_heads % shape_.n_kv_heads == 0,
      "expected n_heads to be a multiple of n_key_value_heads, got ",
      shape_.n_heads,
      " and ",
      shape_.n_kv_heads);
  const int64_t width = shape_.n_heads * shape_.d_head;
  const int64_t qkv = (shape_.n_heads + 2 * shape_.n_kv_heads) * shape_.d_head;
  w_qkv_ = weights.get(prefix + ".W_QKV", {shape_.d_model, qkv});
  if (shape_.qkv_bias) {
    b_qkv_ = weights.get_optional(prefix + ".b_QKV", {qkv});
  }
  if (shape_.qk_norm) {
    q_norm_.emplace(
        weights, prefix + ".q_norm", shape_.d_head, *shape_.qk_norm);
    k_norm_.emplace(
        weights, prefix + ".k_norm", shape_.d_head, *shape_.qk_norm);
  }
  w_o_ = weights.get(prefix + ".W_O", {width, shape_.d_model});
  if (shape_.output_bias) {
    b_o_ = weights.get_optional(prefix + ".b_O", {shape_.d_model});
  }
}

std::pair<at::Tensor, at::Tensor> Attention::head_weights(
    int64_t first_head,
    int64_t heads) const {
  return {
      w_qkv_.unflatten(1, at::IntArrayRef{-1, shape_.d_head})
          .narrow(1, first_head, heads)
          .transpose(0, 1),
      b_qkv_.defined()
          ? b_qkv_.view({-1, shape_.d_head}).narrow(0, first_head, heads)
          : b_qkv_};
}

at::Tensor Attention::project_rows(
    const at::Tensor& rows,
    int64_t first_head,
    int64_t heads) const {
  const auto [w, b] = head_weights(first_head, heads);
  return head_product(rows, w, b);
}

at::Tensor Attention::project_shared(
    const at::Tensor& x,
    int64_t first_head,
    int64_t heads) const {
  const int64_t first = first_head * shape_.d_head;
  const int64_t width = heads * shape_.d_head;
  return affine(
             x.reshape({-1, shape_.d_model}),
             w_qkv_.narrow(1, first, width),
             b_qkv_.defined() ? b_qkv_.narrow(0, first, width) : b_qkv_)
      .view({x.size(0), x.size(1), heads, shape_.d_head});
}

Projections Attention::project(const at::Tensor& x, const at::Tensor& queries)
    const {
  const int64_t heads = shape_.n_heads;
  const int64_t kv_heads = shape_.n_kv_heads;
  const auto project_all = [&](const at::Tensor& of, int64_t first, int64_t n) {
    return of.dim() == 3 ? project_shared(of, first, n)
                         : project_rows(of, first, n);
  };
  // The heads of W_QKV that x is the input of.
  const int64_t first = queries.defined() ? heads : 0;
  const int64_t n = heads + 2 * kv_heads - first;
  Projections p;
  if (x.dim() == 3 || x.size(2) == n) {
    const at::Tensor qkv = project_all(x, first, n);
    p.q = qkv.narrow(2, 0, heads - first);
    p.k = qkv.narrow(2, heads - first, kv_heads);
    p.v = qkv.narrow(2, n - kv_heads, kv_heads);
  } else {
    const bool joint = !queries.defined() && x.size(2) == heads;
    const int64_t kv_rows = (x.size(2) - heads + first) / 2;
    const auto rows = [&](int64_t start, int64_t size) {
      return joint ? x : x.narrow(2, start, size);
    };
    if (!queries.defined()) {
      p.q = project_rows(rows(0, heads), 0, heads);
    }
    p.k = project_rows(rows(heads - first, kv_rows), heads, kv_heads);
    p.v = project_rows(
        rows(heads - first + kv_rows, kv_rows), heads + kv_heads, kv_heads);
  }
  if (queries.defined()) {
    p.q = project_all(queries, 0, heads);
  }
  return p;
}

Projections Attention::project_some(
    const Projections& others,
    const SomeHeads& some,
    const at::Tensor& rows) const {
  const int64_t n_heads = shape_.n_heads;
  Projections p{
      .q = of_query_heads(others.q, some.live, n_heads),
      .k = of_query_heads(others.k, some.live, n_heads),
      .v = of_query_heads(others.v, some.live, n_heads)};
  for (size_t i = 0; i < some.rows.size(); i++) {
    const HeadRow& row = some.rows[i];
    const int64_t first_column =
        row.module == 0 ? 0 : n_heads + (row.module - 1) * shape_.n_kv_heads;
    const int64_t columns = row.module == 0 ? n_heads : shape_.n_kv_heads;
    at::Tensor y = project_rows(
                       rows.narrow(2, static_cast<int64_t>(i), 1),
                       first_column + row.head * columns / row.heads,
                       1)
                       .squeeze(2);
    if (q_norm_ && row.module < 2) {
      y = row.module == 0 ? (*q_norm_)(y) : (*k_norm_)(y);
    }
    const at::Tensor& to = row.module == 0 ? p.q : row.module == 1 ? p.k : p.v;
    for (size_t n = 0; n < some.live.size(); n++) {
      if (some.live[n] * row.heads / n_heads == row.head) {
        to.select(2, static_cast<int64_t>(n)).copy_(y);
      }
    }
  }
  return p;
}

at::Tensor Attention::mix(
    const AttentionInputs& inputs,
    const ContextPositions& positions,
    const PrefixCache& prefix,
    const BackwardRules& rules,
    bool last_only,
    Hooks& hooks) const {
  const SomeHeads* some = inputs.some;
  Projections p;
  if (some != nullptr && some->others) {
    p = *some->others;
  } else {
    p = project(inputs.x, inputs.queries);
    if (q_norm_) {
      p.q = q_norm_->under(rules)(p.q);
      p.k = k_norm_->under(rules)(p.k);
    }
  }
  if (some != nullptr) {
    p = project_some(p, *some, inputs.rows);
  }
  hooks.read(hook_ids_.q, p.q);
  hooks.read(hook_ids_.k, p.k);
  hooks.read(hook_ids_.v, p.v);
  p.v = scale_gradient(p.v, rules.values);
  if (!prefix.empty()) {
    const auto n = static_cast<size_t>(block_);
    const at::ArrayRef<int64_t> live =
        some == nullptr ? at::ArrayRef<int64_t>() : some->live;
    p.k = behind_prefix(prefix.keys[n], p.k, live, shape_.n_heads);
    p.v = behind_prefix(prefix.values[n], p.v, live, shape_.n_heads);
  }
  const at::Tensor pattern =
      pattern_of(p.q, p.k, positions, rules, last_only, &hooks);
  hooks.read(hook_ids_.pattern, pattern);
  const at::Tensor z = product(pattern, for_heads(p.v, p.q.size(2)))
                           .transpose(1, 2); // [batch, seq, heads, d_head]
  hooks.read(hook_ids_.z, z);
  return z;
}

std::array<Projections, 2> Attention::project_both(
    const at::Tensor& shared,
    const at::Tensor& rows) const {
  const int64_t heads = shape_.n_heads;
  const int64_t kv_heads = shape_.n_kv_heads;
  const bool joint = rows.size(2) == heads;
  const int64_t kv_rows = (rows.size(2) - heads) / 2;
  const auto both = [&](int64_t first, int64_t n, int64_t row, int64_t n_rows) {
    const auto [w, b] = head_weights(first, n);
    return head_products(
        {shared.unsqueeze(2).expand({-1, -1, n, -1}),
         joint ? rows : rows.narrow(2, row, n_rows)},
        w,
        b);
  };
  const auto q = both(0, heads, 0, heads);
  const auto k = both(heads, kv_heads, heads, kv_rows);
  const auto v = both(heads + kv_heads, kv_heads, heads + kv_rows, kv_rows);
  return {
      Projections{.q = q[0], .k = k[0], .v = v[0]},
      Projections{.q = q[1], .k = k[1], .v = v[1]}};
}

at::Tensor Attention::mix_packed(
    const at::Tensor& shared,
    const at::Tensor& rows,
    const ContextPositions& positions) const {
  std::vector<Projections> projections;
  if (shared.defined() && rows.defined() && shared.size(1) <= kFewTokens &&
      rows.size(1) <= kFewTokens) {
    const auto both = project_both(shared, rows);
    projections.assign(both.begin(), both.end());
  } else {
    for (const at::Tensor& x : {shared, rows}) {
      if (x.defined()) {
        projections.push_back(project(x, /*queries=*/{}));
      }
    }
  }
  std::vector<at::Tensor> z;
  int64_t first = 0;
  for (const Projections& p : projections) {
    const ContextPositions some = positions.narrow(first, p.q.size(1));
    first += p.q.size(1);
    const at::Tensor q = q_norm_ ? (*q_norm_)(p.q) : p.q;
    const at::Tensor k = k_norm_ ? (*k_norm_)(p.k) : p.k;
    z.push_back(positions.packed()->attend(
        block_,
        some.first(),
        some.turn_queries(q),
        some.turn_keys(k),
        p.v,
        {.scale = shape_.scale,
         .soft_cap = shape_.soft_cap,
         .window = shape_.window}));
  }
  return z.size() == 1 ? z[0] : at::cat(z, 1);
}

at::Tensor Attention::pattern_of(
    const at::Tensor& q,
    const at::Tensor& k,
    const ContextPositions& positions,
    const BackwardRules& rules,
    bool last_only,
    Hooks* hooks) const {
  at::Tensor queries = positions.turn_queries(q);
  const at::Tensor keys = positions.turn_keys(k);
  at::Tensor bias = positions.attention_bias(shape_.window);
  if (last_only) {
    queries = queries.narrow(1, queries.size(1) - 1, 1);
    bias = bias.narrow(-2, bias.size(-2) - 1, 1);
  }

  // The softmax and what leads to it are fp32 at least.
  const at::ScalarType type = queries.scalar_type();
  at::Tensor scores =
      product(
          queries.transpose(1, 2) * shape_.scale,
          for_heads(keys, queries.size(2)).transpose(-2, -1))
          .to(accumulation_type(type)); // [batch, heads, seq, keys]
  if (shape_.soft_cap > 0) {
    scores = at::tanh(scores / shape_.soft_cap) * shape_.soft_cap;
  }
  scores = scores + bias;
  if (hooks != nullptr && hooks->wants(hook_ids_.scores)) {
    hooks->read(hook_ids_.scores, scores.to(type));
  }
  return positions.clear_padding(attention_softmax(scores, rules).to(type));
}

at::Tensor Attention::pattern(
    const at::Tensor& queries,
    const at::Tensor& keys,
    const ContextPositions& positions,
    const PrefixCache& prefix) const {
  at::Tensor q = project_shared(queries, 0, shape_.n_heads);
  at::Tensor k = project_shared(keys, shape_.n_heads, shape_.n_kv_heads);
  if (q_norm_) {
    q = (*q_norm_)(q);
    k = (*k_norm_)(k);
  }
  const int64_t batch = std::max(q.size(0), k.size(0));
  q = q.repeat({batch / q.size(0), 1, 1, 1});
  k = k.repeat({batch / k.size(0), 1, 1, 1});
  if (!prefix.empty()) {
    k = behind_prefix(
        prefix.keys[static_cast<size_t>(block_)], k, {}, shape_.n_heads);
  }
  return pattern_of(q, k, positions, {}, /*last_only=*/false, nullptr);
}

at::Tensor Attention::add_heads(
    const at::Tensor& z,
    const SomeHeads* some,
    const std::optional<Norm>& post_norm,
    Hooks& hooks) const {
  at::Tensor head_weights =
      w_o_.view({shape_.n_heads, shape_.d_head, shape_.d_model});
  const bool all = z.size(2) == shape_.n_heads;
  if (!all) {
    head_weights = entries(head_weights, 0, some->live);
  }
  if (!post_norm) {
    const at::Tensor sum =
        hooks.head_outputs(hook_ids_.result, z, head_weights);
    if (sum.defined()) {
      return b_o_.defined() ? sum + b_o_ : sum;
    }
    return all && hooks.needs_resid() ? sum_heads(z) : at::Tensor();
  }
  TORCH_CHECK(all, "behind a post-norm, all heads run or none");
  const at::Tensor sum = sum_heads(z);
  if (hooks.wants(hook_ids_.result)) {
    const at::Tensor factor =
        post_norm->position_factor(sum).unsqueeze(-1); // [batch, seq, 1, 1]
    at::Tensor w = head_weights;
    if (post_norm->dimension_factor().defined()) {
      w = (w * post_norm->dimension_factor()).to(w.scalar_type());
    }
    hooks.head_outputs(hook_ids_.result, (z * factor).to(z.scalar_type()), w);
  }
  return (*post_norm)(sum);
}

at::Tensor Attention::sum_heads(const at::Tensor& z) const {
  const at::Tensor flat = z.reshape({z.size(0) * z.size(1), -1});
  return affine(flat, w_o_, b_o_).view({z.size(0), z.size(1), shape_.d_model});
}

} // namespace autocircuit
