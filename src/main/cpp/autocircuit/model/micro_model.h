#pragma once

#include "autocircuit/model/model.h"

namespace autocircuit {

/// A model small enough to work out by hand: head h of a block multiplies the
/// residual stream by its weight vector, and the block adds the sum of its
/// heads to the stream. The output is the last residual stream.
class MicroModel final : public Model {
 public:
  MicroModel(const std::string& description, Weights weights);

  at::Tensor forward(const ModelInput& input, Hooks& hooks) const override;

 protected:
  void check_first_input(const ModelInput& input) const override;
  void check_context(const ModelInput& input) const override;

 private:
  std::vector<at::Tensor> block_weights_; // each [heads, d_model]
};

} // namespace autocircuit
