#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>

namespace autocircuit {

/// Says what is read off the logits before answers are compared.
enum class GradFunction : int64_t {
  kLogit = 0,
  kProb = 1,
  kLogprob = 2,
  /// exp(logit) over its sum, the sum held constant.
  kLogitExp = 3
};

/// Says how those values become a loss.
enum class AnswerFunction : int64_t {
  /// Minus the mean over prompts of (mean of answers - mean of wrong answers).
  kAvgDiff = 0,
  /// Minus the mean over prompts of the mean of answers.
  kAvgVal = 1,
  /// Mean squared error against targets.
  kMse = 2
};

/// The loss of one run, without dimensions, or of several runs of the same
/// prompts, [runs]. logits: ([runs,] batch, d_vocab). answers, wrong_answers:
/// [batch, k] token ids, padded with -1; for kMse `answers` holds the targets
/// [batch, d_vocab], of the type of the logits. The loss is computed in fp32 at
/// least.
at::Tensor answer_loss(
    const at::Tensor& logits,
    GradFunction grad_function,
    AnswerFunction answer_function,
    const at::Tensor& answers,
    const at::Tensor& wrong_answers);

} // namespace autocircuit
