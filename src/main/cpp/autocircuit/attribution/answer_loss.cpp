#include "autocircuit/attribution/answer_loss.h"

#include <ATen/ops/exp.h>
#include <ATen/ops/log_softmax.h>
#include <ATen/ops/softmax.h>

#include <vector>

#include "autocircuit/model/precision.h"

namespace autocircuit {

namespace {

at::Tensor token_values(const at::Tensor& logits, GradFunction function) {
  switch (function) {
    case GradFunction::kLogit:
      return logits;
    case GradFunction::kProb:
      return at::softmax(logits, -1);
    case GradFunction::kLogprob:
      return at::log_softmax(logits, -1);
    case GradFunction::kLogitExp: {
      const at::Tensor numerator = at::exp(logits);
      return numerator / numerator.sum(-1, /*keepdim=*/true).detach();
    }
  }
  TORCH_CHECK(false, "unknown grad function ", static_cast<int64_t>(function));
}

// Mean value of each prompt's answers: ([runs,] batch).
at::Tensor answer_mean(
    const at::Tensor& values,
    const char* name,
    const at::Tensor& answers) {
  TORCH_CHECK(
      answers.defined() && answers.dim() == 2 &&
          answers.size(0) == values.size(-2) && answers.size(1) > 0 &&
          answers.scalar_type() == at::kLong &&
          answers.device() == values.device(),
      "expected ",
      name,
      " [",
      values.size(-2),
      ", k] of int64 on ",
      values.device());
  const at::Tensor present = answers >= 0;
  std::vector<int64_t> shape = values.sizes().vec();
  shape.back() = answers.size(1);
  const at::Tensor gathered =
      values.gather(-1, answers.clamp_min(0).expand(shape));
  return gathered.masked_fill(answers < 0, 0).sum(-1) / present.sum(-1);
}

} // namespace

at::Tensor answer_loss(
    const at::Tensor& logits,
    GradFunction grad_function,
    AnswerFunction answer_function,
    const at::Tensor& answers,
    const at::Tensor& wrong_answers) {
  TORCH_CHECK(
      logits.dim() == 2 || logits.dim() == 3,
      "expected logits ([runs,] batch, d_vocab) of one position, got ",
      logits.sizes());
  const at::Tensor values = token_values(
      logits.to(accumulation_type(logits.scalar_type())), grad_function);
  switch (answer_function) {
    case AnswerFunction::kAvgDiff:
      return -(answer_mean(values, "answers", answers) -
               answer_mean(values, "wrong answers", wrong_answers))
                  .mean(-1);
    case AnswerFunction::kAvgVal:
      return -answer_mean(values, "answers", answers).mean(-1);
    case AnswerFunction::kMse:
      TORCH_CHECK(
          answers.defined() &&
              answers.sizes() == logits.sizes().slice(logits.dim() - 2) &&
              answers.dtype() == logits.dtype(),
          "expected targets ",
          logits.sizes(),
          " of ",
          logits.dtype());
      // Not at::mse_loss, whose gradient has no kernel for the meta device.
      return (values - answers.to(values.scalar_type()))
          .square()
          .mean(at::IntArrayRef{-1, -2});
  }
  TORCH_CHECK(
      false, "unknown answer function ", static_cast<int64_t>(answer_function));
}

} // namespace autocircuit
