#include "autocircuit/attribution/faithfulness.h"

#include <ATen/ops/logsumexp.h>

#include <vector>

namespace autocircuit {

namespace {

// Of each prompt or position: [batch, ...].
at::Tensor each(
    FaithfulnessTarget target,
    const at::Tensor& logits,
    const at::Tensor& full_model) {
  switch (target) {
    case FaithfulnessTarget::kKlDiv: {
      const int64_t d_vocab = logits.size(-1);
      const at::Tensor agreement =
          full_model.narrow(-1, 0, d_vocab).mul(logits).sum(-1);
      return full_model.select(-1, d_vocab) - agreement +
          at::logsumexp(logits, {-1});
    }
    case FaithfulnessTarget::kMse:
      return (logits - full_model).square().mean(-1);
  }
  TORCH_CHECK(
      false, "unknown faithfulness target ", static_cast<int64_t>(target));
}

} // namespace

at::Tensor divergence(
    FaithfulnessTarget target,
    const at::Tensor& logits,
    const at::Tensor& full_model,
    const at::Tensor& attention_mask) {
  std::vector<int64_t> shape = logits.sizes().vec();
  shape.back() += target == FaithfulnessTarget::kKlDiv ? 1 : 0;
  TORCH_CHECK(
      (logits.dim() == 2 || logits.dim() == 3) && full_model.defined() &&
          full_model.sizes() == shape && full_model.dtype() == logits.dtype(),
      "expected outputs of the full model for logits ",
      logits.sizes(),
      " of ",
      logits.dtype());
  const at::Tensor parts = each(target, logits, full_model);
  if (parts.dim() == 1 || !attention_mask.defined()) {
    return parts.mean();
  }
  // Without the first position each prompt lacks its own, too: tokens behind
  // one of theirs.
  const at::Tensor own = attention_mask.narrow(1, 0, parts.size(1)).ne(0);
  const at::Tensor sums = parts.masked_fill(own.logical_not(), 0).sum(-1);
  return (sums / own.sum(-1).clamp_min(1)).mean();
}

} // namespace autocircuit
