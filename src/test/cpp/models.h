// Small models and their wrappers, for tests.
#pragma once

#include <ATen/ATen.h>

#include <memory>
#include <string>
#include <vector>

#include "autocircuit/patch/patchable_model.h"

namespace autocircuit::test {

struct Shape {
  int64_t layers = 2;
  int64_t d_model = 8;
  int64_t heads = 2;
  int64_t d_head = 4;
  int64_t d_mlp = 16;
  int64_t d_vocab = 11;
  int64_t n_ctx = 8;
};

/// A GPT-2 kind model with random weights.
std::shared_ptr<const Model> random_transformer(
    const Shape& shape,
    at::ScalarType dtype,
    at::Device device = at::kCPU);

/// The micro model whose head weights are 1, 2 and 3, 4.
std::shared_ptr<const Model> micro_model(int64_t layers);

/// Wrappers of the edge graph with separate q, k and v.
std::vector<PatchWrapper> edge_wrappers(
    const Shape& shape,
    int64_t seq_len = 0);
std::vector<PatchWrapper> micro_edge_wrappers(int64_t layers);

/// A patched or plain forward with default options.
at::Tensor logits(
    const PatchableModel& model,
    const at::Tensor& input,
    const PatchContext* context = nullptr);

} // namespace autocircuit::test
