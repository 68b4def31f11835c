#include "autocircuit/model/context_positions.h"

#include <ATen/ops/arange.h>
#include <ATen/ops/cat.h>
#include <ATen/ops/full.h>
#include <ATen/ops/index.h>
#include <ATen/ops/ones.h>
#include <ATen/ops/ones_like.h>
#include <ATen/ops/zeros.h>

#include <limits>

namespace autocircuit {

namespace {

constexpr double kNever = -std::numeric_limits<double>::infinity();

} // namespace

ContextPositions::ContextPositions(
    int64_t seq,
    int64_t prefix,
    const at::Tensor& attention_mask,
    const at::TensorOptions& options,
    const std::optional<Rotary>& rotary,
    at::IntArrayRef windows)
    : seq_(seq), prefix_(prefix), options_(options) {
  const at::TensorOptions ids = options.dtype(at::kLong);
  keys_ = at::arange(prefix + seq, ids);
  if (attention_mask.defined()) {
    present_ = attention_mask != 0;
    const at::Tensor valid = at::cat(
        {at::ones({present_.size(0), prefix}, ids), present_.to(at::kLong)}, 1);
    keys_ = (valid.cumsum(1) - 1).clamp_min(0);
  }
  tokens_ = keys_.narrow(-1, prefix, seq);
  for (const int64_t window : windows) {
    biases_.emplace_back(window, make_bias(window));
  }
  if (rotary) {
    rotation_ = rotary->rotation(keys_, options);
  }
}

ContextPositions::ContextPositions(
    const PackedTokens& packed,
    const at::TensorOptions& options,
    const std::optional<Rotary>& rotary)
    : seq_(packed.size()),
      prefix_(0),
      packed_(&packed),
      options_(options),
      tokens_(packed.positions().unsqueeze(0)),
      keys_(tokens_) {
  if (rotary) {
    rotation_ = rotary->rotation_of_each(packed.positions(), options);
  }
}

ContextPositions ContextPositions::narrow(int64_t first, int64_t tokens) const {
  ContextPositions some = *this;
  some.seq_ = tokens;
  some.first_ = first_ + first;
  some.tokens_ = tokens_.narrow(1, first, tokens);
  some.keys_ = some.tokens_;
  if (rotation_) {
    some.rotation_ = rotation_->narrow(first, tokens);
  }
  return some;
}

at::Tensor ContextPositions::make_bias(int64_t window) const {
  const at::Tensor never = at::full({seq_, prefix_ + seq_}, kNever, options_);
  const at::Tensor causal = never.triu(prefix_ + 1);
  if (!present_.defined()) {
    return window > 0 ? causal + never.tril(prefix_ - window) : causal;
  }
  // A padding key is hidden from everybody but itself.
  at::Tensor hidden = at::cat(
      {at::zeros({present_.size(0), prefix_}, present_.options()), ~present_},
      1);
  hidden = hidden.unsqueeze(1); // [batch, 1 (query), keys]
  if (window > 0) {
    // Not columns, since padding may lie between the prefix and a token.
    hidden = hidden | (tokens_.unsqueeze(2) - keys_.unsqueeze(1) >= window);
  }
  const at::Tensor itself =
      at::ones_like(never, at::kBool).triu(prefix_).tril(prefix_);
  return causal.expand({present_.size(0), -1, -1})
      .masked_fill(hidden, kNever)
      .masked_fill(itself, 0)
      .unsqueeze(1);
}

const at::Tensor& ContextPositions::attention_bias(int64_t window) const {
  for (const auto& [of_window, bias] : biases_) {
    if (of_window == window) {
      return bias;
    }
  }
  TORCH_CHECK(false, "no attention bias was made for a window of ", window);
}

at::Tensor ContextPositions::clear_padding(const at::Tensor& pattern) const {
  if (!present_.defined()) {
    return pattern;
  }
  const int64_t n = pattern.size(2);
  return pattern *
      present_.narrow(1, seq_ - n, n)
          .unsqueeze(1)
          .unsqueeze(-1)
          .to(pattern.dtype());
}

at::Tensor ContextPositions::embed(const at::Tensor& w_pos) const {
  if (packed_ != nullptr) {
    return at::index(w_pos, {tokens_});
  }
  if (!present_.defined()) {
    return w_pos.narrow(0, prefix_, seq_).unsqueeze(0);
  }
  return at::index(w_pos, {tokens_}) * present_.unsqueeze(-1).to(w_pos.dtype());
}

at::Tensor ContextPositions::turn_queries(const at::Tensor& queries) const {
  if (!rotation_) {
    return queries;
  }
  const int64_t n = queries.size(1);
  return rotation_->narrow(prefix_ + seq_ - n, n)(queries);
}

at::Tensor ContextPositions::turn_keys(const at::Tensor& keys) const {
  return rotation_ ? (*rotation_)(keys) : keys;
}

} // namespace autocircuit
