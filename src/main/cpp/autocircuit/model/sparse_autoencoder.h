#pragma once

#include <ATen/core/Tensor.h>

#include <array>
#include <string>
#include <string_view>
#include <vector>

#include "autocircuit/model/hooks.h"
#include "autocircuit/model/weights.h"

namespace autocircuit {

struct AutoencoderShape {
  int64_t n_latents = 0; // may be 0: all of them were pruned
  int64_t positions = 0; // that have latents of their own; 0: one set for all
  /// The reconstruction error is a source, too.
  bool error_node = false;
};

/// A sparse autoencoder on what an MLP puts out,
///
///   latents = relu(encode_weight (x - bias) + latent_bias),
///   reconstruction = decode_weight latents + bias.
///
/// The reconstruction takes the place of x in the residual stream. Each latent
/// is a source: its value times its column of decode_weight. The bias is a
/// constant that no source carries. With an error node, x - reconstruction is
/// one more source, and the stream is what it was without the autoencoder.
class SparseAutoencoder {
 public:
  /// Hook points, in execution order.
  enum Hook : HookId { kInput, kLatents, kLatentOuts, kError, kHookCount };
  static constexpr std::array<std::string_view, kHookCount> kHookNames{
      "wrapped_hook",
      "latents",
      "latent_outs",
      "error"};

  /// prefix: of its weights' names; first_hook: id of its first hook point.
  SparseAutoencoder(
      const Weights& weights,
      const std::string& prefix,
      int64_t d_model,
      const AutoencoderShape& shape,
      HookId first_hook);

  /// Hook points of the sources that it takes x apart into, and what the stream
  /// has beside them [d_model].
  std::vector<HookId> sources() const;
  const at::Tensor& constant() const {
    return bias_;
  }

  /// x: [batch, seq, d_model]. Returns what the stream goes on with.
  at::Tensor operator()(const at::Tensor& x, Hooks& hooks) const;

 private:
  HookId hook(Hook hook) const {
    return first_hook_ + hook;
  }
  bool is_watched(const Hooks& hooks) const;
  at::Tensor encode(const at::Tensor& x) const;
  at::Tensor decode(const at::Tensor& latents) const;
  /// Returns the sum of the latents' outputs if the hooks have it.
  at::Tensor write_latents(const at::Tensor& latents, Hooks& hooks) const;

  AutoencoderShape shape_;
  HookId first_hook_;
  // The first three have a leading dimension [positions] if positions > 0.
  at::Tensor encode_weight_; // [latents, d_model]
  at::Tensor latent_bias_;   // [latents]
  at::Tensor decode_weight_; // [d_model, latents]
  at::Tensor bias_;          // [d_model]
};

} // namespace autocircuit
