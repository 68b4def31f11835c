#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>

namespace autocircuit {

/// Says how outputs of a patched model are compared with the full model's.
enum class FaithfulnessTarget : int64_t {
  /// KL(full model || patched) of the next-token distributions, in nats.
  kKlDiv = 0,
  /// Squared difference of the logits, averaged over the vocabulary.
  kMse = 1
};

/// The mean over prompts of how far logits are from the full model's, without
/// dimensions; a prompt of several positions counts with the mean over those of
/// its own tokens. Differentiable in the logits.
///
/// logits: [batch, d_vocab] or [batch, positions, d_vocab]. full_model: for
/// kKlDiv the full model's probabilities and behind them the sum of each times
/// its logarithm, [..., d_vocab + 1]; for kMse its logits. attention_mask:
/// [batch, seq], 0 for padding, or undefined.
at::Tensor divergence(
    FaithfulnessTarget target,
    const at::Tensor& logits,
    const at::Tensor& full_model,
    const at::Tensor& attention_mask);

} // namespace autocircuit
