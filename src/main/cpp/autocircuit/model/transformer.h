#pragma once

#include <optional>

#include "autocircuit/model/block.h"
#include "autocircuit/model/model.h"

namespace autocircuit {

/// A decoder-only transformer of the GPT-2 kind: learned positions, LayerNorm
/// before attention and MLP, biases. Its structure is fixed at construction.
class Transformer final : public Model {
 public:
  Transformer(const std::string& description, Weights weights);

  /// Logits [batch, seq, d_vocab], or of the wanted positions alone.
  at::Tensor forward(const ModelInput& input, Hooks& hooks) const override;

 protected:
  void check_first_input(const at::Tensor& value) const override;

 private:
  at::Tensor embed(const at::Tensor& tokens, Hooks& hooks) const;
  at::Tensor unembed(const at::Tensor& resid, Hooks& hooks) const;
  HookId final_hook(int64_t hook) const;

  at::Tensor w_e_;   // [d_vocab, d_model]
  at::Tensor w_pos_; // [n_ctx, d_model]
  std::vector<Block> blocks_;
  std::optional<LayerNorm> ln_final_;
  at::Tensor w_u_; // [d_vocab, d_model]
  at::Tensor b_u_; // [d_vocab], may be undefined
};

} // namespace autocircuit
