#pragma once

#include <array>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "autocircuit/model/attention.h"
#include "autocircuit/model/mlp.h"
#include "autocircuit/model/model.h"
#include "autocircuit/model/norm.h"
#include "autocircuit/model/sparse_autoencoder.h"

namespace autocircuit {

/// Holds what the blocks of one transformer have in common.
struct BlockShape {
  AttentionShape attention;
  NormShape norm;
  int64_t d_mlp = 0; // 0: attention only
  Activation activation = Activation::kGeluNew;
  bool gated = false;
  bool mlp_bias = true; // there may be some
  /// Attention and MLP read the same residual stream, not one after another.
  bool parallel = false;
  /// The outputs of attention and MLP are normed, too.
  bool post_norms = false;
  /// On what the MLP adds to the residual stream.
  std::optional<AutoencoderShape> autoencoder = {};
};

/// Attention and an MLP, each reading a norm of the residual stream and
/// adding to it.
class Block {
 public:
  /// Hook points of a block, in execution order, under TransformerLens's
  /// names. Those of an autoencoder are before that of its output.
  enum Hook : HookId {
    kResidPre,
    kAttnIn,
    kQInput,
    kKInput,
    kVInput,
    kLn1Scale,
    kLn1Normalized,
    kQ,
    kK,
    kV,
    kScores,
    kPattern,
    kZ,
    kResult,
    kAttnOut,
    kResidMid,
    kMlpIn,
    kLn2Scale,
    kLn2Normalized,
    kPre,
    kPost,
    kMlpOut,
    kResidPost,
    kHookCount
  };
  static constexpr std::array<std::string_view, kHookCount> kHookNames{
      "hook_resid_pre",      "hook_attn_in",          "hook_q_input",
      "hook_k_input",        "hook_v_input",          "ln1.hook_scale",
      "ln1.hook_normalized", "attn.hook_q",           "attn.hook_k",
      "attn.hook_v",         "attn.hook_attn_scores", "attn.hook_pattern",
      "attn.hook_z",         "attn.hook_result",      "hook_attn_out",
      "hook_resid_mid",      "hook_mlp_in",           "ln2.hook_scale",
      "ln2.hook_normalized", "mlp.hook_pre",          "mlp.hook_post",
      "hook_mlp_out",        "hook_resid_post"};

  /// Full names of the hook points that a block has.
  static std::vector<std::string> hook_names(
      int64_t block,
      const BlockShape& shape);

  /// block: its number; first_hook: id of its hook_resid_pre.
  Block(
      const Weights& weights,
      int64_t block,
      const BlockShape& shape,
      HookId first_hook);

  /// Residual stream in, residual stream out: [batch, seq, d_model]; out only
  /// the last position if nobody needs more.
  at::Tensor operator()(
      at::Tensor resid,
      const ContextPositions& positions,
      const PrefixCache& prefix,
      const BackwardRules& rules,
      bool last_only,
      Hooks& hooks) const;

  /// Returns whether it can end at one position: latents may belong to
  /// positions.
  bool can_end_at_last() const {
    return !autoencoder_;
  }

  /// The heads and the MLP of this block.
  std::vector<ModelNode> nodes(int64_t block) const;

  /// The attention patterns of queries and keys that read residual streams; see
  /// Model::pattern.
  at::Tensor pattern(
      const at::Tensor& queries,
      const at::Tensor& keys,
      const ContextPositions& positions,
      const PrefixCache& prefix) const {
    return attention_.pattern(ln1_(queries), ln1_(keys), positions, prefix);
  }

  /// Returns what they add to the residual stream.
  std::vector<StreamPart> stream_parts() const;

  HookId last_hook() const {
    return hook(kResidPost);
  }

  /// Positions that a query sees; 0: all before it.
  int64_t window() const {
    return attention_.window();
  }

  /// The shape of what sequences keep, in so many blocks like this one.
  CacheShape cache_shape(int64_t layers) const {
    return attention_.cache_shape(layers);
  }

  /// Returns whether keys or values of a prefix [batch, prefix, heads, d_head]
  /// have this block's heads.
  bool fits_prefix(const at::Tensor& entry) const {
    return attention_.fits_prefix(entry);
  }

 private:
  HookId hook(Hook hook) const {
    HookId id = first_hook_ + hook;
    if (hook >= kMlpOut && autoencoder_) {
      id += SparseAutoencoder::kHookCount;
    }
    return id;
  }
  at::Tensor attend(
      const at::Tensor& resid,
      const ContextPositions& positions,
      const PrefixCache& prefix,
      const BackwardRules& rules,
      bool last_only,
      Hooks& hooks) const;
  HeadInputs attention_inputs(
      const at::Tensor& resid,
      const Norm& norm,
      Hooks& hooks) const;
  /// z of packed tokens, of which the last may read inputs of their own.
  at::Tensor mix_packed(
      const at::Tensor& resid,
      const HeadInputs& inputs,
      const Norm& norm,
      const ContextPositions& positions) const;
  at::Tensor apply_mlp(
      const at::Tensor& resid,
      const BackwardRules& rules,
      Hooks& hooks) const;

  int64_t n_heads_;
  int64_t n_kv_heads_;
  bool parallel_;
  HookId first_hook_;
  Norm ln1_;
  Attention attention_;
  std::optional<Norm> ln1_post_;
  std::optional<Norm> ln2_; // none of the rest in attention-only models
  std::optional<Mlp> mlp_;
  std::optional<Norm> ln2_post_;
  std::optional<SparseAutoencoder> autoencoder_;
};

} // namespace autocircuit
