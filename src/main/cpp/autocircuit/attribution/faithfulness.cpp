#include "autocircuit/attribution/faithfulness.h"

#include <ATen/ops/logsumexp.h>
#include <torch/csrc/autograd/custom_function.h>

#include <vector>

namespace autocircuit {

using torch::autograd::AutogradContext;
using torch::autograd::variable_list;

/// Makes and keeps what LibTorch's logsumexp does, which has no kernel for the
/// meta device.
struct LogSumExpOnMeta : torch::autograd::Function<LogSumExpOnMeta> {
  static at::Tensor forward(AutogradContext* ctx, const at::Tensor& x) {
    const at::Tensor sum = x.sub(x.narrow(-1, 0, 1)).exp_().sum(-1);
    ctx->save_for_backward({x, sum});
    return sum;
  }

  static variable_list backward(
      AutogradContext* ctx,
      const variable_list& grads) {
    const auto saved = ctx->get_saved_variables();
    return {grads[0].unsqueeze(-1) * (saved[0] - saved[1].unsqueeze(-1)).exp()};
  }
};

namespace {

at::Tensor log_sum_exp(const at::Tensor& x) {
  return x.is_meta() ? LogSumExpOnMeta::apply(x) : at::logsumexp(x, {-1});
}

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
      return full_model.select(-1, d_vocab) - agreement + log_sum_exp(logits);
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
