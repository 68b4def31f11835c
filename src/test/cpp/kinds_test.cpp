// Identities that hold for every kind of transformer.
#include <ATen/core/grad_mode.h>
#include <torch/csrc/autograd/autograd.h>

#include <string>
#include <utility>
#include <vector>

#include "autocircuit/engine/forward.h"
#include "autocircuit/engine/source_ablations.h"
#include "kinds.h"

#include "check.h"

namespace autocircuit::test {

namespace {

at::Tensor run(const std::string& text, const Weights& w, at::Tensor tokens) {
  const PatchableModel model(make_model(text, w), {});
  return logits(model, tokens);
}

// The weights with those of some names replaced.
template <typename Change>
Weights changed(const Weights& weights, const Change& change) {
  std::vector<at::Tensor> tensors;
  for (size_t i = 0; i < weights.names().size(); i++) {
    tensors.push_back(change(weights.names()[i], weights.tensors()[i]));
  }
  return {weights.names(), tensors};
}

bool ends_with_qkv(const std::string& name) {
  return name.ends_with("_QKV");
}

} // namespace

TEST(the_weights_of_every_kind_are_known_without_a_model) {
  for_each_kind([](const Shape& shape) {
    const Weights has = random_transformer(shape, at::kDouble)->weights();
    const std::vector<WeightShape> listed = weight_shapes(description(shape));
    // The last one may be missing.
    CHECK(listed.back().name == "unembed.b_U");
    CHECK(listed.size() == has.names().size() + 1);
    for (size_t i = 0; i < has.names().size(); i++) {
      CHECK(listed[i].name == has.names()[i]);
      CHECK(has.tensors()[i].sizes() == listed[i].sizes);
    }
  });
}

TEST(every_kind_is_clean_at_masks_0_and_corrupt_at_masks_1) {
  const c10::NoGradGuard no_grad;
  for_each_kind([](const Shape& shape) {
    Kind k(shape);
    k.context.masks.zero_();
    CHECK_CLOSE(
        logits(k.model, k.clean, &k.context),
        logits(k.model, k.clean),
        1e-10,
        1e-10);
    k.context.masks.fill_(1);
    CHECK_CLOSE(
        logits(k.model, k.clean, &k.context),
        logits(k.model, k.corrupt),
        1e-10,
        1e-10);
  });
}

TEST(sources_and_constants_of_every_kind_sum_to_the_residual) {
  const c10::NoGradGuard no_grad;
  for_each_kind([](const Shape& shape) {
    const Kind k(shape);
    ForwardRequest request;
    request.input = {.value = k.clean};
    request.want_src_outs = true;
    request.reads = {"blocks.1.hook_resid_post"};
    for (const PatchContext* context :
         {static_cast<const PatchContext*>(nullptr), &k.context}) {
      request.context = context;
      const ForwardResult result = forward(k.model, request);
      at::Tensor sum = result.src_outs.sum(0);
      if (shape.biases) {
        for (const char* bias : {"blocks.0.attn.b_O", "blocks.1.attn.b_O"}) {
          sum = sum + k.model.model().weights().get(bias, {shape.d_model});
        }
      }
      if (shape.latents >= 0) {
        for (const char* bias :
             {"blocks.0.hook_mlp_out.bias", "blocks.1.hook_mlp_out.bias"}) {
          sum = sum + k.model.model().weights().get(bias, {shape.d_model});
        }
      }
      if (context == nullptr) {
        CHECK_CLOSE(sum, result.reads[0], 1e-10, 1e-10);
      } else {
        // The end of the stream is a destination: what it reads is patched.
        const PatchWrapper end = edge_wrappers(shape).back();
        const at::Tensor mask =
            k.context.masks.narrow(0, end.mask_offset, end.mask_size());
        const at::Tensor delta = k.context.patch_src_outs - result.src_outs;
        sum = sum + (delta * mask.view({-1, 1, 1, 1})).sum(0);
        CHECK_CLOSE(sum, result.reads[0], 1e-10, 1e-10);
      }
    }
  });
}

TEST(gradients_of_every_kind_equal_finite_differences) {
  for_each_kind([](const Shape& shape) {
    for (const int64_t seq_len : {0, 5}) {
      Kind k(shape, seq_len);
      const at::Tensor weights =
          to_device(at::randn({3, 5, k.shape.d_vocab}, at::kDouble));
      const auto loss = [&](const PatchContext& context) {
        return (logits(k.model, k.clean, &context) * weights).sum();
      };
      PatchContext leaf = k.context;
      leaf.masks = k.context.masks.clone().requires_grad_(true);
      const at::Tensor recorded = loss(leaf);
      const at::Tensor grad =
          torch::autograd::grad({recorded}, {leaf.masks})[0];
      const c10::NoGradGuard no_grad;
      CHECK_CLOSE(loss(k.context), recorded.detach(), 1e-10, 1e-10);
      const at::Tensor step = at::randn_like(k.context.masks) * 1e-6;
      PatchContext up = k.context;
      PatchContext down = k.context;
      up.masks = k.context.masks + step;
      down.masks = k.context.masks - step;
      CHECK_CLOSE(
          (loss(up) - loss(down)) / 2, (grad * step).sum(), 1e-5, 1e-10);
    }
  });
}

TEST(grouped_queries_are_heads_with_equal_keys_and_values) {
  const c10::NoGradGuard no_grad;
  const Kind k(llama());
  Shape plain = llama();
  plain.kv_heads = 0;
  const Weights repeated = changed(
      k.model.model().weights(),
      [](const std::string& name, const at::Tensor& w) {
        if (!ends_with_qkv(name)) {
          return w;
        }
        const at::Tensor heads = w.unflatten(-1, at::IntArrayRef{8, 4});
        return at::cat(
                   {heads.narrow(-2, 0, 4),
                    heads.narrow(-2, 4, 4).repeat_interleave(2, -2)},
                   -2)
            .flatten(-2);
      });
  CHECK_CLOSE(
      run(description(plain), repeated, k.clean),
      logits(k.model, k.clean),
      1e-10,
      1e-10);
}

TEST(tied_masks_of_ungrouped_keys_and_values_are_those_of_the_group) {
  const c10::NoGradGuard no_grad;
  for (Shape shape : {llama(), gemma()}) {
    Kind grouped(shape);
    shape.ungrouped = true;
    Kind ungrouped(shape);
    std::vector<at::Tensor> masks;
    for (const PatchWrapper& w : edge_wrappers(grouped.shape)) {
      if (!w.is_dest()) {
        continue;
      }
      at::Tensor m =
          grouped.context.masks.narrow(0, w.mask_offset, w.mask_size());
      if (w.rows == 2) {
        m = m.view({2, -1}).repeat_interleave(2, 0).flatten();
      }
      masks.push_back(m);
    }
    ungrouped.context.masks = at::cat(masks);
    CHECK_CLOSE(
        logits(ungrouped.model, grouped.clean, &ungrouped.context),
        logits(grouped.model, grouped.clean, &grouped.context),
        1e-10,
        1e-10);
  }
}

TEST(adjacent_pairs_are_halves_of_other_dimensions) {
  const c10::NoGradGuard no_grad;
  Shape shape = llama();
  const Kind k(shape);
  const Weights shuffled = changed(
      k.model.model().weights(),
      [](const std::string& name, const at::Tensor& w) {
        if (!ends_with_qkv(name)) {
          return w;
        }
        const at::Tensor heads = w.unflatten(-1, at::IntArrayRef{8, 4});
        return at::cat(
                   {heads.narrow(-2, 0, 6).index_select(
                        -1, to_device(at::tensor({0, 2, 1, 3}, at::kLong))),
                    heads.narrow(-2, 6, 2)},
                   -2)
            .flatten(-2);
      });
  shape.more =
      "act_fn=silu\nrotary_dim=4\nrotary_base=10000\nrotary_pairs=adjacent\n";
  CHECK_CLOSE(
      run(description(shape), shuffled, k.clean),
      logits(k.model, k.clean),
      1e-10,
      1e-10);
}

TEST(caps_and_windows_do_what_they_say) {
  const c10::NoGradGuard no_grad;
  Shape shape = llama();
  const Kind k(shape);
  const Weights& w = k.model.model().weights();
  const at::Tensor plain = logits(k.model, k.clean);
  const auto with = [&](const char* more) {
    Shape other = shape;
    other.more += more;
    return run(description(other), w, k.clean);
  };
  CHECK_CLOSE(
      with("logit_soft_cap=2\n"), at::tanh(plain / 2) * 2, 1e-10, 1e-10);
  // Wide enough to change nothing.
  CHECK_CLOSE(with("window=5\n"), plain, 1e-10, 1e-10);
  CHECK_CLOSE(with("attn_soft_cap=1e9\n"), plain, 1e-6, 1e-6);
  CHECK_CLOSE(with("attn_scale=0.5\n"), plain, 1e-10, 1e-10); // 1 / sqrt(4)
  // Two blocks with a window of two see three positions.
  at::Tensor other = k.clean.clone();
  other.narrow(1, 0, 2).copy_(k.corrupt.narrow(1, 0, 2));
  Shape narrow = shape;
  narrow.more += "window=2\n";
  const at::Tensor far = run(description(narrow), w, k.clean);
  CHECK_CLOSE(
      run(description(narrow), w, other).select(1, 4),
      far.select(1, 4),
      1e-10,
      1e-10);
  CHECK(!at::allclose(
      run(description(narrow), w, other).select(1, 3), far.select(1, 3)));
  CHECK(!at::allclose(
      run(description(shape), w, other).select(1, 4), plain.select(1, 4)));
  // Every second block: the other one sees all.
  narrow.more += "window_every=2\n";
  CHECK(!at::allclose(
      run(description(narrow), w, other).select(1, 4),
      run(description(narrow), w, k.clean).select(1, 4)));
}

} // namespace autocircuit::test
