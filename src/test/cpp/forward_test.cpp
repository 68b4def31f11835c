// Patched forwards against hand-made numbers and against identities.
#include <ATen/core/grad_mode.h>
#include <torch/csrc/autograd/autograd.h>

#include "autocircuit/engine/forward.h"
#include "autocircuit/engine/source_ablations.h"
#include "models.h"

#include "check.h"

namespace autocircuit::test {

namespace {

// A patchable transformer in double precision, two inputs, one set of random
// masks.
struct Fixture {
  explicit Fixture(int64_t seq_len = 0)
      : model(
            random_transformer(shape, at::kDouble),
            edge_wrappers(shape, seq_len)) {
    at::manual_seed(3);
    clean = to_device(at::randint(shape.d_vocab, {3, 4}, at::kLong));
    corrupt = to_device(at::randint(shape.d_vocab, {3, 4}, at::kLong));
    context.patch_src_outs =
        source_ablations(model, {.value = corrupt}, BatchAblation::kResample);
    context.masks = to_device(at::rand({model.n_masks()}, at::kDouble));
  }

  Shape shape;
  PatchableModel model;
  at::Tensor clean;
  at::Tensor corrupt;
  PatchContext context;
};

} // namespace

TEST(micro_model_by_hand) {
  const c10::NoGradGuard no_grad;
  const PatchableModel model(micro_model(2), micro_edge_wrappers(2));
  const at::Tensor clean = to_device(at::tensor({5.0, 4.0}).view({1, 1, 2}));
  const at::Tensor corrupt = to_device(at::tensor({1.0, 1.0}).view({1, 1, 2}));
  // Each block multiplies by 1 + 1 + 3 and 1 + 2 + 4.
  CHECK_CLOSE(
      logits(model, clean), at::tensor({125.0, 196.0}).view({1, 1, 2}), 0, 0);
  const at::Tensor src_outs =
      source_ablations(model, {.value = corrupt}, BatchAblation::kResample);
  CHECK_CLOSE(
      src_outs.view({5, 2}),
      at::tensor({1.0, 1.0, 1.0, 2.0, 3.0, 4.0, 5.0, 14.0, 15.0, 28.0})
          .view({5, 2}),
      0,
      0);
  PatchContext context{
      .patch_src_outs = src_outs,
      .masks = to_device(at::zeros({13}, at::kDouble)),
      .transform = {}};
  // Resid Start -> B0.1 alone: its output is that of the corrupt input.
  context.masks[1] = 1;
  // resid after block 0: 5 + 5 + 3, 4 + 8 + 4; block 1 multiplies by 5 and 7.
  CHECK_CLOSE(
      logits(model, clean, &context),
      at::tensor({65.0, 112.0}).view({1, 1, 2}),
      0,
      0);
}

TEST(zero_masks_are_the_clean_run) {
  const c10::NoGradGuard no_grad;
  Fixture f;
  f.context.masks.zero_();
  CHECK_CLOSE(
      logits(f.model, f.clean, &f.context),
      logits(f.model, f.clean),
      1e-10,
      1e-10);
}

TEST(one_masks_are_the_patch_run) {
  const c10::NoGradGuard no_grad;
  Fixture f;
  f.context.masks.fill_(1);
  CHECK_CLOSE(
      logits(f.model, f.clean, &f.context),
      logits(f.model, f.corrupt),
      1e-10,
      1e-10);
}

TEST(sources_and_biases_sum_to_the_residual) {
  const c10::NoGradGuard no_grad;
  Fixture f;
  ForwardRequest request;
  request.input = {.value = f.clean};
  request.want_src_outs = true;
  request.reads = {"blocks.1.hook_resid_post"};
  const ForwardResult result = forward(f.model, request);
  const Weights& w = f.model.model().weights();
  CHECK_CLOSE(
      result.src_outs.sum(0) + w.get("blocks.0.attn.b_O", {f.shape.d_model}) +
          w.get("blocks.1.attn.b_O", {f.shape.d_model}),
      result.reads[0],
      1e-10,
      1e-10);
}

TEST(a_pass_that_autograd_records_gives_the_same) {
  Fixture f;
  at::Tensor recorded = logits(f.model, f.clean, &f.context);
  PatchContext leaf = f.context;
  leaf.masks = f.context.masks.clone().requires_grad_(true);
  recorded = logits(f.model, f.clean, &leaf);
  const c10::NoGradGuard no_grad;
  CHECK_CLOSE(
      logits(f.model, f.clean, &f.context), recorded.detach(), 1e-10, 1e-10);
}

TEST(masks_per_position_and_example_equal_shared_ones) {
  const c10::NoGradGuard no_grad;
  Fixture shared;
  const at::Tensor expected =
      logits(shared.model, shared.clean, &shared.context);
  PatchContext batched = shared.context;
  batched.masks = shared.context.masks.expand({3, -1}).contiguous();
  CHECK_CLOSE(
      logits(shared.model, shared.clean, &batched), expected, 1e-10, 1e-10);

  Fixture positioned(4);
  std::vector<at::Tensor> flat;
  for (const PatchWrapper& w : edge_wrappers(shared.shape)) {
    if (w.is_dest()) {
      const at::Tensor m =
          shared.context.masks.narrow(0, w.mask_offset, w.mask_size());
      flat.push_back(m.expand({4, -1}).reshape({-1}));
    }
  }
  PatchContext context = shared.context;
  context.masks = at::cat(flat);
  CHECK_CLOSE(
      logits(positioned.model, shared.clean, &context), expected, 1e-10, 1e-10);
  context.masks = context.masks.expand({3, -1}).contiguous();
  CHECK_CLOSE(
      logits(positioned.model, shared.clean, &context), expected, 1e-10, 1e-10);
}

TEST(gradients_equal_finite_differences) {
  for (const int64_t seq_len : {0, 4}) {
    for (const MaskFn fn :
         {MaskFn::kNone, MaskFn::kSigmoid, MaskFn::kHardConcrete}) {
      for (const bool batched : {false, true}) {
        Fixture f(seq_len);
        f.context.transform.fn = fn;
        f.context.transform.noise = {.seed = 5, .step = 2, .uniforms = {}};
        if (batched) {
          f.context.masks =
              to_device(at::rand({3, f.model.n_masks()}, at::kDouble));
        }
        const at::Tensor weights =
            to_device(at::randn({3, 4, f.shape.d_vocab}, at::kDouble));
        const auto loss = [&](const PatchContext& context) {
          return (logits(f.model, f.clean, &context) * weights).sum();
        };
        PatchContext leaf = f.context;
        leaf.masks = f.context.masks.clone().requires_grad_(true);
        leaf.patch_src_outs =
            f.context.patch_src_outs.clone().requires_grad_(true);
        const auto grads = torch::autograd::grad(
            {loss(leaf)}, {leaf.masks, leaf.patch_src_outs});
        const c10::NoGradGuard no_grad;
        const at::Tensor mask_step = at::randn_like(f.context.masks) * 1e-6;
        const at::Tensor act_step =
            at::randn_like(f.context.patch_src_outs) * 1e-6;
        PatchContext up = f.context;
        PatchContext down = f.context;
        up.masks = f.context.masks + mask_step;
        down.masks = f.context.masks - mask_step;
        CHECK_CLOSE(
            (loss(up) - loss(down)) / 2,
            (grads[0] * mask_step).sum(),
            1e-5,
            1e-10);
        up.masks = down.masks = f.context.masks;
        up.patch_src_outs = f.context.patch_src_outs + act_step;
        down.patch_src_outs = f.context.patch_src_outs - act_step;
        CHECK_CLOSE(
            (loss(up) - loss(down)) / 2,
            (grads[1] * act_step).sum(),
            1e-5,
            1e-10);
      }
    }
  }
}

TEST(weights_train_through_a_patched_forward) {
  Fixture f;
  at::Tensor w = f.model.model().weights().get("blocks.0.attn.W_O", {8, 8});
  w.requires_grad_(true);
  const at::Tensor grad = torch::autograd::grad(
      {logits(f.model, f.clean, &f.context).sum()}, {w})[0];
  w.requires_grad_(false);
  const c10::NoGradGuard no_grad;
  const at::Tensor step = at::randn_like(w) * 1e-6;
  w.add_(step);
  const at::Tensor up = logits(f.model, f.clean, &f.context).sum();
  w.sub_(step * 2);
  const at::Tensor down = logits(f.model, f.clean, &f.context).sum();
  CHECK_CLOSE((up - down) / 2, (grad * step).sum(), 1e-5, 1e-10);
}

TEST(two_forwards_then_the_backward_of_the_first) {
  Fixture f;
  PatchContext leaf = f.context;
  leaf.masks = f.context.masks.clone().requires_grad_(true);
  const at::Tensor alone = torch::autograd::grad(
      {logits(f.model, f.clean, &leaf).sum()}, {leaf.masks})[0];
  const at::Tensor first = logits(f.model, f.clean, &leaf).sum();
  const at::Tensor second = logits(f.model, f.corrupt, &leaf).sum();
  CHECK_CLOSE(torch::autograd::grad({first}, {leaf.masks})[0], alone, 0, 0);
  CHECK(second.requires_grad());
}

TEST(a_kept_graph_gives_the_same_gradient_twice) {
  Fixture f;
  PatchContext leaf = f.context;
  leaf.masks = f.context.masks.clone().requires_grad_(true);
  const at::Tensor loss = logits(f.model, f.clean, &leaf).sum();
  const at::Tensor once =
      torch::autograd::grad({loss}, {leaf.masks}, {}, /*retain_graph=*/true)[0];
  CHECK_CLOSE(torch::autograd::grad({loss}, {leaf.masks})[0], once, 0, 0);
}

TEST(a_backward_for_some_inputs_leaves_nothing_to_the_next) {
  Fixture f;
  PatchContext leaf = f.context;
  leaf.masks = f.context.masks.clone().requires_grad_(true);
  leaf.patch_src_outs = f.context.patch_src_outs.clone().requires_grad_(true);
  const at::Tensor alone = torch::autograd::grad(
      {logits(f.model, f.clean, &leaf).sum()}, {leaf.patch_src_outs})[0];
  const at::Tensor loss = logits(f.model, f.clean, &leaf).sum();
  torch::autograd::grad({loss}, {leaf.masks}, {}, /*retain_graph=*/true);
  CHECK_CLOSE(
      torch::autograd::grad({loss}, {leaf.patch_src_outs})[0],
      alone,
      1e-12,
      1e-12);
}

TEST(the_gradient_of_a_gradient_is_refused) {
  Fixture f;
  PatchContext leaf = f.context;
  leaf.masks = f.context.masks.clone().requires_grad_(true);
  const at::Tensor loss = logits(f.model, f.clean, &leaf).sum();
  CHECK_THROWS(
      torch::autograd::grad(
          {loss}, {leaf.masks}, {}, true, /*create_graph=*/true),
      "create_graph");
}

TEST(starting_at_a_block_equals_the_whole_run) {
  const c10::NoGradGuard no_grad;
  Fixture f;
  // Patch nothing before block 1, so that its clean residual is the true one.
  for (const PatchWrapper& w : edge_wrappers(f.shape)) {
    if (w.is_dest() && w.module.rfind("blocks.0.", 0) == 0) {
      f.context.masks.narrow(0, w.mask_offset, w.mask_size()).zero_();
    }
  }
  ForwardRequest whole;
  whole.input = {.value = f.clean};
  whole.want_src_outs = true;
  whole.reads = {"blocks.1.hook_resid_pre"};
  const ForwardResult clean = forward(f.model, whole);
  ForwardRequest late;
  late.input = {.value = clean.reads[0], .start_block = 1, .is_resid = true};
  late.context = &f.context;
  late.start_src_outs = clean.src_outs;
  late.want_src_outs = true;
  whole.context = &f.context;
  const ForwardResult expected = forward(f.model, whole);
  const ForwardResult actual = forward(f.model, late);
  CHECK_CLOSE(actual.logits, expected.logits, 1e-10, 1e-10);
  CHECK_CLOSE(actual.src_outs, expected.src_outs, 1e-10, 1e-10);
}

TEST(reading_hook_points_changes_nothing) {
  const c10::NoGradGuard no_grad;
  Fixture f;
  ForwardRequest request;
  request.input = {.value = f.clean};
  request.context = &f.context;
  request.want_src_outs = true;
  for (const std::string& name : f.model.model().hook_names()) {
    if (name.find("hook_attn_in") == std::string::npos) {
      request.reads.push_back(name);
    }
  }
  const ForwardResult result = forward(f.model, request);
  CHECK_CLOSE(
      result.logits, logits(f.model, f.clean, &f.context), 1e-10, 1e-10);
  request.reads = {"blocks.1.hook_attn_in"};
  CHECK_THROWS(forward(f.model, request), "blocks.1.hook_attn_in");
  request.context = nullptr;
  CHECK_EQUAL(
      forward(f.model, request).reads[0].sizes().vec(),
      (std::vector<int64_t>{3, 4, f.shape.heads, f.shape.d_model}));
}

TEST(misuse_is_named) {
  Fixture f;
  if (test_device().is_cpu()) { // elsewhere nobody waits for the tokens
    CHECK_THROWS(
        logits(f.model, at::full({1, 2}, f.shape.d_vocab, at::kLong)),
        "position 0");
  }
  CHECK_THROWS(
      logits(f.model, to_device(at::zeros({1, 9}, at::kLong))),
      "at most 8 positions");
  CHECK_THROWS(
      logits(f.model, to_device(at::zeros({1, 2}))), "tokens [batch, seq]");
  PatchContext wrong = f.context;
  wrong.masks = f.context.masks.narrow(0, 0, 5);
  CHECK_THROWS(logits(f.model, f.clean, &wrong), "n_masks");
  wrong = f.context;
  wrong.patch_src_outs = f.context.patch_src_outs.narrow(1, 0, 2);
  CHECK_THROWS(logits(f.model, f.clean, &wrong), "source activations");
  Fixture by_position(/*seq_len=*/4);
  wrong = by_position.context;
  wrong.patch_src_outs = wrong.patch_src_outs.narrow(2, 0, 3);
  CHECK_THROWS(
      logits(by_position.model, f.clean.narrow(1, 0, 3), &wrong),
      "masks are for 4 positions");
  ForwardRequest unknown;
  unknown.input = {.value = f.clean};
  unknown.reads = {"blocks.7.hook_q"};
  CHECK_THROWS(forward(f.model, unknown), "blocks.7.hook_q");
}

} // namespace autocircuit::test
