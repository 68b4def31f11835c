#include <ATen/core/grad_mode.h>

#include "autocircuit/engine/forward.h"
#include "autocircuit/model/sparse_autoencoder.h"

#include <map>
#include <string>
#include <vector>

#include "models.h"

#include "check.h"

namespace autocircuit::test {

namespace {

// Keeps what it is shown, and wants all of it or nothing.
class Watcher final : public Hooks {
 public:
  explicit Watcher(bool curious) : curious_(curious) {}

  at::Tensor visit(HookId hook, const at::Tensor& value) override {
    seen[hook] = value;
    return value;
  }
  HeadInputs head_inputs(
      c10::ArrayRef<HookId> /*modules*/,
      c10::ArrayRef<int64_t> /*heads*/,
      const at::Tensor& /*resid*/,
      const Norm* /*norm*/) override {
    return {};
  }
  bool wants(HookId /*hook*/) const override {
    return curious_;
  }
  at::Tensor head_outputs(
      HookId hook,
      const at::Tensor& z,
      const at::Tensor& weights) override {
    seen[hook] = at::einsum("bshk,hkd->bshd", {z, weights});
    return {};
  }
  void head_outputs(HookId hook, const at::Tensor& value) override {
    seen[hook] = value;
  }
  void read(HookId hook, const at::Tensor& value) override {
    seen[hook] = value;
  }

  std::map<HookId, at::Tensor> seen;

 private:
  bool curious_;
};

at::Tensor matrix(std::vector<double> values, at::IntArrayRef shape) {
  return to_device(at::tensor(values, at::kDouble).view(shape));
}

// Two latents of a stream of width 2:
//   latents = relu([[1, 0], [2, -1]] (x - [1, 2]) + [0, -1])
//   reconstruction = [[1, 3], [-1, 0]] latents + [1, 2]
Weights small_weights() {
  return {
      {"sae.encode_weight", "sae.latent_bias", "sae.decode_weight", "sae.bias"},
      {matrix({1, 0, 2, -1}, {2, 2}),
       matrix({0, -1}, {2}),
       matrix({1, 3, -1, 0}, {2, 2}),
       matrix({1, 2}, {2})}};
}

// The same at each position.
Weights repeated(const Weights& weights, int64_t positions) {
  std::vector<at::Tensor> tensors;
  for (size_t i = 0; i < weights.names().size(); i++) {
    const at::Tensor& w = weights.tensors()[i];
    std::vector<int64_t> shape = w.sizes().vec();
    shape.insert(shape.begin(), positions);
    tensors.push_back(
        weights.names()[i].ends_with(".bias") ? w : w.expand(shape));
  }
  return {weights.names(), tensors};
}

SparseAutoencoder small(int64_t positions, bool error_node) {
  return {
      positions == 0 ? small_weights() : repeated(small_weights(), positions),
      "sae",
      2,
      {.n_latents = 2, .positions = positions, .error_node = error_node},
      10};
}

// One example, two positions: latents (3, 0) and (2, 3).
at::Tensor small_input() {
  return matrix({4, 8, 3, 2}, {1, 2, 2});
}

} // namespace

TEST(a_small_autoencoder_worked_out_by_hand) {
  const c10::NoGradGuard no_grad;
  for (const int64_t positions : {0, 2}) {
    Watcher hooks(true);
    const at::Tensor out = small(positions, false)(small_input(), hooks);
    CHECK_CLOSE(out, matrix({4, -1, 12, 0}, {1, 2, 2}), 0, 0);
    CHECK_CLOSE(hooks.seen[10], small_input(), 0, 0);
    CHECK_CLOSE(hooks.seen[11], matrix({3, 0, 2, 3}, {1, 2, 2}), 0, 0);
    // A latent writes its value times its column.
    CHECK_CLOSE(
        hooks.seen[12], matrix({3, -3, 0, 0, 2, -2, 9, 0}, {1, 2, 2, 2}), 0, 0);
    CHECK_CLOSE(hooks.seen[13], matrix({0, 9, -9, 2}, {1, 2, 2}), 0, 0);
  }
}

TEST(an_error_node_leaves_the_stream_as_it_was) {
  const c10::NoGradGuard no_grad;
  for (const int64_t positions : {0, 2}) {
    Watcher curious(true);
    CHECK_CLOSE(
        small(positions, true)(small_input(), curious), small_input(), 0, 0);
    CHECK_CLOSE(curious.seen[13], matrix({0, 9, -9, 2}, {1, 2, 2}), 0, 0);
    // Unwatched, nothing is computed.
    Watcher blind(false);
    CHECK(small(positions, true)(small_input(), blind)
              .is_same(blind.seen.at(10)));
    CHECK(blind.seen.size() == 1);
  }
}

TEST(positions_have_latents_of_their_own) {
  const c10::NoGradGuard no_grad;
  Weights weights = repeated(small_weights(), 2);
  at::Tensor decode = weights.tensors()[2].clone();
  decode.select(0, 1).mul_(2); // doubles what position 1 writes
  weights = {
      weights.names(),
      {weights.tensors()[0],
       weights.tensors()[1],
       decode,
       weights.tensors()[3]}};
  Watcher hooks(false);
  const SparseAutoencoder autoencoder(
      weights, "sae", 2, {.n_latents = 2, .positions = 2}, 0);
  CHECK_CLOSE(
      autoencoder(small_input(), hooks),
      matrix({4, -1, 23, -2}, {1, 2, 2}),
      0,
      0);
  CHECK_THROWS(
      autoencoder(matrix({1, 2}, {1, 1, 2}), hooks), "expected 2 positions");
}

TEST(without_latents_the_bias_is_left) {
  const c10::NoGradGuard no_grad;
  Shape shape;
  shape.latents = 0;
  const PatchableModel model(
      random_transformer(shape, at::kDouble), edge_wrappers(shape));
  ForwardRequest request;
  request.input = {.value = to_device(at::zeros({3, 5}, at::kLong))};
  request.reads = {
      "blocks.1.hook_mlp_out", "blocks.1.hook_mlp_out.latent_outs"};
  const ForwardResult result = forward(model, request);
  CHECK_CLOSE(
      result.reads[0],
      model.model()
          .weights()
          .get("blocks.1.hook_mlp_out.bias", {shape.d_model})
          .expand({3, 5, -1}),
      0,
      0);
  CHECK_CLOSE(
      result.reads[1], at::zeros({3, 5, 0, shape.d_model}, at::kDouble), 0, 0);
}

TEST(weights_of_another_shape_are_refused) {
  CHECK_THROWS(
      SparseAutoencoder(small_weights(), "sae", 2, {.n_latents = 3}, 0),
      "sae.encode_weight: expected shape [3, 2], got [2, 2]");
  CHECK_THROWS(
      SparseAutoencoder(
          small_weights(), "sae", 2, {.n_latents = 2, .positions = 4}, 0),
      "expected shape [4, 2, 2]");
  CHECK_THROWS(
      SparseAutoencoder(small_weights(), "other", 2, {.n_latents = 2}, 0),
      "weight other.encode_weight is missing");
}

TEST(errors_make_the_model_what_it_was_without_autoencoders) {
  const c10::NoGradGuard no_grad;
  Shape shape;
  shape.latents = 6;
  shape.error_node = true;
  const PatchableModel with(
      random_transformer(shape, at::kDouble), edge_wrappers(shape));
  std::vector<std::string> names;
  std::vector<at::Tensor> tensors;
  for (size_t i = 0; i < with.model().weights().names().size(); i++) {
    const std::string& name = with.model().weights().names()[i];
    if (name.find("hook_mlp_out") == std::string::npos) {
      names.push_back(name);
      tensors.push_back(with.model().weights().tensors()[i]);
    }
  }
  shape.latents = -1;
  const PatchableModel without(
      make_model(description(shape), {names, tensors}), {});
  const at::Tensor tokens =
      to_device(at::randint(shape.d_vocab, {3, 5}, at::kLong));
  const at::Tensor expected = logits(without, tokens);
  CHECK_CLOSE(logits(with, tokens), expected, 0, 0);

  ForwardRequest request;
  request.input = {.value = tokens};
  request.want_src_outs = true;
  request.reads = {
      "blocks.0.hook_mlp_out", "blocks.0.hook_mlp_out.wrapped_hook"};
  const ForwardResult parts = forward(with, request);
  CHECK_CLOSE(parts.logits, expected, 1e-12, 1e-12);
  CHECK_CLOSE(parts.reads[0], parts.reads[1], 1e-12, 1e-12);
}

} // namespace autocircuit::test
