#include "autocircuit/model/sparse_autoencoder.h"

#include <ATen/ops/threshold.h>

#include <vector>

#include "autocircuit/ops/product.h"

namespace autocircuit {

namespace {

// x [batch, seq, n] times w [m, n], plus b [m]; or position by position, where
// each has its own w [positions, m, n] and perhaps b [positions, m].
at::Tensor times_transposed(
    const at::Tensor& x,
    const at::Tensor& w,
    const at::Tensor& b) {
  if (w.dim() == 2) {
    return affine(x.flatten(0, 1), w.t(), b)
        .view({x.size(0), x.size(1), w.size(0)});
  }
  const at::Tensor y = product(x.transpose(0, 1), w.transpose(1, 2));
  return (y + (b.dim() == 2 ? b.unsqueeze(1) : b)).transpose(0, 1);
}

} // namespace

SparseAutoencoder::SparseAutoencoder(
    const Weights& weights,
    const std::string& prefix,
    int64_t d_model,
    const AutoencoderShape& shape,
    HookId first_hook)
    : shape_(shape), first_hook_(first_hook) {
  const auto get = [&](const char* name, std::vector<int64_t> sizes) {
    if (shape.positions > 0) {
      sizes.insert(sizes.begin(), shape.positions);
    }
    return weights.get(prefix + name, sizes);
  };
  encode_weight_ = get(".encode_weight", {shape.n_latents, d_model});
  latent_bias_ = get(".latent_bias", {shape.n_latents});
  decode_weight_ = get(".decode_weight", {d_model, shape.n_latents});
  bias_ = weights.get(prefix + ".bias", {d_model});
}

std::vector<HookId> SparseAutoencoder::sources() const {
  std::vector<HookId> sources;
  if (shape_.n_latents > 0) {
    sources.push_back(hook(kLatentOuts));
  }
  if (shape_.error_node) {
    sources.push_back(hook(kError));
  }
  return sources;
}

at::Tensor SparseAutoencoder::operator()(const at::Tensor& x, Hooks& hooks)
    const {
  TORCH_CHECK(
      shape_.positions == 0 || x.size(1) == shape_.positions,
      "expected ",
      shape_.positions,
      " positions, as many as have latents of their own, got ",
      x.size(1));
  hooks.read(hook(kInput), x);
  if (shape_.error_node && !is_watched(hooks)) {
    return x; // nobody asks into which parts it falls
  }
  const at::Tensor latents = encode(x);
  hooks.read(hook(kLatents), latents);
  const at::Tensor sum = write_latents(latents, hooks);
  const at::Tensor reconstruction =
      sum.defined() ? sum + bias_ : decode(latents);
  if (shape_.error_node && hooks.tokens_are_apart()) {
    // All of x, exactly: nobody asks about some of the tokens.
    hooks.visit(hook(kError), x - reconstruction);
    return x;
  }
  if (shape_.error_node) {
    return reconstruction + hooks.visit(hook(kError), x - reconstruction);
  }
  if (hooks.wants(hook(kError))) {
    hooks.read(hook(kError), x - reconstruction);
  }
  return reconstruction;
}

bool SparseAutoencoder::is_watched(const Hooks& hooks) const {
  return hooks.wants(hook(kLatents)) || hooks.wants(hook(kLatentOuts)) ||
      hooks.wants(hook(kError));
}

// [batch, seq, latents]
at::Tensor SparseAutoencoder::encode(const at::Tensor& x) const {
  const at::Tensor centred = x - bias_;
  // Not at::relu, which has no kernel for the meta device.
  return at::threshold(
      times_transposed(centred, encode_weight_, latent_bias_), 0, 0);
}

at::Tensor SparseAutoencoder::decode(const at::Tensor& latents) const {
  return times_transposed(latents, decode_weight_, bias_);
}

at::Tensor SparseAutoencoder::write_latents(
    const at::Tensor& latents,
    Hooks& hooks) const {
  const HookId outs = hook(kLatentOuts);
  const at::Tensor z = latents.unsqueeze(-1); // [batch, seq, latents, 1]
  const at::Tensor columns = decode_weight_.transpose(-2, -1);
  if (shape_.positions == 0 && shape_.n_latents > 0) {
    return hooks.head_outputs(
        outs, z, columns.unsqueeze(1)); // [latents, 1, d_model]
  }
  if (hooks.wants(outs)) {
    hooks.head_outputs(outs, z * columns);
  }
  return {};
}

} // namespace autocircuit
