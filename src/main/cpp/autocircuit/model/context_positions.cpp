#include "autocircuit/model/context_positions.h"

#include <ATen/ops/arange.h>
#include <ATen/ops/cat.h>
#include <ATen/ops/full.h>
#include <ATen/ops/index.h>
#include <ATen/ops/ones.h>
#include <ATen/ops/zeros.h>

#include <limits>

namespace autocircuit {

ContextPositions::ContextPositions(
    int64_t batch,
    int64_t seq,
    int64_t prefix,
    const at::Tensor& attention_mask,
    const at::TensorOptions& options)
    : seq_(seq), prefix_(prefix), options_(options) {
  const at::TensorOptions ids = options.dtype(at::kLong);
  keys_ = at::arange(prefix + seq, ids);
  if (attention_mask.defined()) {
    TORCH_CHECK(
        attention_mask.dim() == 2 && attention_mask.size(0) == batch &&
            attention_mask.size(1) == seq &&
            attention_mask.device() == options.device(),
        "expected an attention mask [",
        batch,
        ", ",
        seq,
        "] on ",
        options.device(),
        ", got ",
        attention_mask.sizes(),
        " on ",
        attention_mask.device());
    const at::Tensor valid = at::cat(
        {at::ones({batch, prefix}, ids), attention_mask.to(at::kLong)}, 1);
    keys_ = (valid.cumsum(1) - 1).clamp_min(0);
    present_ = attention_mask.to(options.dtype());
  }
  tokens_ = keys_.narrow(-1, prefix, seq);
}

at::Tensor ContextPositions::attention_bias(int64_t window) const {
  const double never = -std::numeric_limits<double>::infinity();
  const at::Tensor full = at::full({seq_, prefix_ + seq_}, never, options_);
  at::Tensor bias = full.triu(prefix_ + 1);
  if (window > 0) {
    bias = bias + full.tril(prefix_ - window);
  }
  if (!present_.defined()) {
    return bias;
  }
  // A padding key is hidden from everybody but itself.
  const at::Tensor hidden =
      at::zeros({present_.size(0), prefix_ + seq_}, options_);
  hidden.narrow(1, prefix_, seq_).masked_fill_(present_ == 0, never);
  const at::Tensor itself =
      at::ones({seq_, prefix_ + seq_}, options_.dtype(at::kBool))
          .triu(prefix_)
          .tril(prefix_);
  return (bias + hidden.unsqueeze(1).unsqueeze(1)).masked_fill(itself, 0);
}

at::Tensor ContextPositions::clear_padding(const at::Tensor& pattern) const {
  return present_.defined() ? pattern * present_.unsqueeze(1).unsqueeze(-1)
                            : pattern;
}

at::Tensor ContextPositions::embed(const at::Tensor& w_pos) const {
  if (!present_.defined()) {
    return w_pos.narrow(0, prefix_, seq_).unsqueeze(0);
  }
  return at::index(w_pos, {tokens_}) * present_.unsqueeze(-1);
}

} // namespace autocircuit
