// Small models and their wrappers, for tests.
#pragma once

#include <ATen/ATen.h>

#include <memory>
#include <string>
#include <vector>

#include "autocircuit/patch/patchable_model.h"
#include "devices.h"

namespace autocircuit::test {

struct Shape {
  int64_t layers = 2;
  int64_t d_model = 8;
  int64_t heads = 2;
  int64_t d_head = 4;
  int64_t d_mlp = 16;
  int64_t d_vocab = 11;
  int64_t n_ctx = 8;
  int64_t kv_heads = 0;   // 0: as many as heads
  bool ungrouped = false; // K and V destinations for each query head
  bool joint = false;     // one input for q, k and v
  bool rms = false;
  bool norm_weights = true;
  bool learned = true; // positions
  bool attn_only = false;
  bool parallel = false;
  bool gated = false;
  bool qk_norm = false;
  bool post_norms = false;
  bool biases = true;
  int64_t latents = -1;    // of an autoencoder on each MLP; -1: none
  int64_t positions = 0;   // with latents of their own
  bool error_node = false; // a source for what autoencoders miss
  std::string more; // lines of the description for settings without weights
};

/// A model with random weights, of GPT-2's kind unless the shape says more.
std::shared_ptr<const Model> random_transformer(
    const Shape& shape,
    at::ScalarType dtype,
    at::Device device = test_device());

std::string description(const Shape& shape);

/// The micro model whose head weights are 1, 2 and 3, 4.
std::shared_ptr<const Model> micro_model(int64_t layers);

/// Wrappers of the edge graph, with separate q, k and v unless joint.
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
