#pragma once

#include <optional>

#include "autocircuit/model/block.h"
#include "autocircuit/model/model.h"

namespace autocircuit {

/// A decoder-only transformer. Its structure is fixed at construction: norms,
/// positions, attention and MLP are what its description says.
class Transformer final : public Model {
 public:
  Transformer(const std::string& description, Weights weights);

  /// Logits [batch, seq, d_vocab], or of the wanted positions alone.
  at::Tensor forward(const ModelInput& input, Hooks& hooks) const override;

  at::Tensor pattern(
      int64_t block,
      const at::Tensor& queries,
      const at::Tensor& keys,
      const ModelInput& input) const override;

  bool can_end_at_last() const override {
    return blocks_.back().can_end_at_last();
  }

  std::optional<CacheShape> cache_shape() const override;

  bool can_begin_with_prefix() const override {
    return can_begin_with_prefix_;
  }

 protected:
  void check_first_input(const ModelInput& input) const override;
  void check_context(const ModelInput& input) const override;

 private:
  void check_prefix(const ModelInput& input) const;
  ContextPositions places_of(const ModelInput& input) const;
  at::Tensor embed(
      const at::Tensor& tokens,
      const ContextPositions& positions,
      Hooks& hooks) const;
  at::Tensor unembed(
      const at::Tensor& resid,
      const BackwardRules& rules,
      Hooks& hooks) const;

  int64_t n_ctx_;
  bool can_begin_with_prefix_; // no latents belong to a place in the sequence
  double embed_scale_;         // of the embedding (Gemma)
  double logit_cap_; // logits become cap * tanh(logits / cap); 0: they stay
  at::Tensor w_e_;   // [d_vocab, d_model]
  at::Tensor w_pos_; // [n_ctx, d_model]; undefined with rotary positions
  std::optional<Rotary> rotary_;
  std::vector<Block> blocks_;
  std::vector<int64_t> windows_; // of the blocks, each once
  HookId final_hook_ = 0;        // the first one after the blocks
  std::optional<Norm> ln_final_;
  at::Tensor w_u_; // [d_vocab, d_model]
  at::Tensor b_u_; // [d_vocab], may be undefined
};

} // namespace autocircuit
