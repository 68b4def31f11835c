// Gradients at points that additions lead to, against the reference executor.
#include "autocircuit/attribution/point_gradient.h"
#include "autocircuit/attribution/edge_attribution.h"
#include "autocircuit/attribution/pattern_effects.h"
#include "autocircuit/engine/forward.h"

#include <ATen/core/grad_mode.h>
#include <ATen/ops/allclose.h>
#include <ATen/ops/ones_like.h>
#include <ATen/ops/randint.h>
#include <ATen/ops/randn.h>
#include <ATen/ops/randn_like.h>
#include <ATen/ops/stack.h>
#include <ATen/ops/zeros.h>
#include <ATen/ops/zeros_like.h>

#include "autocircuit/engine/source_ablations.h"
#include "kinds.h"

#include "check.h"
#include "devices.h"

namespace autocircuit::test {

namespace {

AnswerLoss log_answers_of(int64_t prompts) {
  return {
      .grad_function = GradFunction::kLogprob,
      .answers = to_device(at::randint(11, {prompts, 2}, at::kLong)),
      .wrong_answers = to_device(at::randint(11, {prompts, 2}, at::kLong))};
}

ModelInput clean_of(const Kind& k) {
  ModelInput input;
  input.value = k.clean;
  return input;
}

at::Tensor outputs_of(const Kind& k, const at::Tensor& prompts) {
  const at::NoGradGuard no_grad;
  ModelInput input;
  input.value = prompts;
  return source_ablations(k.model, input, BatchAblation::kResample);
}

/// Something to add at a hook point: at all positions, at one, or the same for
/// all prompts.
at::Tensor noise(const Kind& k, bool all) {
  const int64_t batch = all ? k.clean.size(0) : 1;
  return at::randn(
      {batch, k.clean.size(1), k.model.model().d_model()},
      k.model.model().options());
}

std::vector<std::vector<Addition>> some_additions(const Kind& k) {
  std::vector<std::vector<Addition>> all{
      {},
      {{"blocks.0.hook_resid_pre", noise(k, true)}},
      {{"blocks.1.hook_resid_pre", noise(k, false)},
       {"blocks.0.hook_attn_out", noise(k, true)}}};
  if (!k.shape.attn_only) {
    all.push_back({{"blocks.1.hook_mlp_out", noise(k, true)}});
  }
  return all;
}

/// By the reference executor: patches such that at this point patched minus
/// current output is the difference asked for.
MaskGradient expected_of(const Kind& k, const PointAttribution& request) {
  ForwardRequest point;
  point.input = request.clean;
  point.added = request.added;
  point.want_src_outs = true;
  point.policy = PlanPolicy::kReference;
  const at::Tensor outputs = [&] {
    const at::NoGradGuard no_grad;
    return forward(k.model, point).src_outs;
  }();
  const at::AutoGradMode record(true);
  const at::Tensor masks =
      at::zeros({k.model.n_masks()}, k.context.masks.options())
          .requires_grad_(true);
  const PatchContext context{
      .patch_src_outs = outputs + request.differences,
      .masks = masks,
      .transform = {}};
  point.want_src_outs = false;
  point.input.slice = OutputSlice::kLastSeq;
  point.context = &context;
  return mask_gradient_of(forward(k.model, point).logits, masks, request.loss);
}

} // namespace

TEST(gradients_at_points_are_those_of_the_reference_executor) {
  for_each_kind([](const Shape& s) {
    for (const bool positions : {false, true}) {
      const Kind k(s, positions ? Kind(s).clean.size(1) : 0);
      for (const auto& added : some_additions(k)) {
        const PointAttribution request{
            .clean = clean_of(k),
            .differences = outputs_of(k, k.corrupt) - outputs_of(k, k.clean),
            .loss = log_answers_of(k.clean.size(0)),
            .added = added};
        const MaskGradient actual = point_gradient(k.model, request);
        const MaskGradient expected = expected_of(k, request);
        CHECK_CLOSE(actual.grad, expected.grad, 1e-8, 1e-10);
        CHECK_CLOSE(actual.loss, expected.loss, 1e-10, 1e-12);
        CHECK_CLOSE(actual.logits, expected.logits, 1e-8, 1e-10);
      }
    }
  });
}

TEST(nothing_added_is_edge_attribution) {
  for_each_kind([](const Shape& s) {
    const Kind k(s);
    const AnswerLoss loss = log_answers_of(k.clean.size(0));
    ModelInput corrupt;
    corrupt.value = k.corrupt;
    for (const bool per_prompt : {false, true}) {
      const MaskGradient actual = point_gradient(
          k.model,
          {.clean = clean_of(k),
           .differences = outputs_of(k, k.corrupt) - outputs_of(k, k.clean),
           .loss = loss,
           .per_prompt = per_prompt});
      for (const int64_t prompts : {int64_t{1}, k.clean.size(0)}) {
        for (const bool compact : {false, true}) {
          const MaskGradient expected = edge_attribution(
              k.model,
              {.clean = clean_of(k),
               .corrupt = corrupt,
               .loss = loss,
               .per_prompt = per_prompt},
              {prompts, compact});
          CHECK_CLOSE(actual.grad, expected.grad, 1e-8, 1e-10);
          CHECK_CLOSE(actual.loss, expected.loss, 1e-10, 1e-12);
        }
      }
    }
  });
}

// A prompt's own gradient is that of a batch of this prompt alone.
TEST(gradients_of_prompts_are_those_of_each_alone) {
  for_each_kind([](const Shape& s) {
    const Kind k(s);
    const int64_t batch = k.clean.size(0);
    const PointAttribution all{
        .clean = clean_of(k),
        .differences = outputs_of(k, k.corrupt) - outputs_of(k, k.clean),
        .loss = log_answers_of(batch),
        .per_prompt = true};
    const MaskGradient of_all = point_gradient(k.model, all);
    CHECK_EQUAL(of_all.grad.size(0), batch);
    for (int64_t i = 0; i < batch; i++) {
      PointAttribution one = all;
      one.clean.value = k.clean.narrow(0, i, 1);
      one.differences = all.differences.narrow(1, i, 1);
      one.loss.answers = all.loss.answers.narrow(0, i, 1);
      one.loss.wrong_answers = all.loss.wrong_answers.narrow(0, i, 1);
      one.per_prompt = false;
      CHECK_CLOSE(
          of_all.grad[i], point_gradient(k.model, one).grad, 1e-8, 1e-10);
    }
  });
}

TEST(the_gradient_of_several_points_is_their_mean) {
  for_each_kind([](const Shape& s) {
    for (const at::ScalarType type : {at::kDouble, at::kFloat}) {
      for (const bool positions : {false, true}) {
        const Kind k(s, positions ? Kind(s).clean.size(1) : 0, type);
        const at::Tensor every =
            at::stack({noise(k, false), noise(k, false), noise(k, false)});
        const at::Tensor same = noise(k, true);
        for (const bool per_prompt : {false, true}) {
          PointAttribution request{
              .clean = clean_of(k),
              .differences = outputs_of(k, k.corrupt) - outputs_of(k, k.clean),
              .loss = log_answers_of(k.clean.size(0)),
              .added =
                  {{"blocks.0.hook_resid_pre", every},
                   {"blocks.1.hook_resid_pre", same}},
              .per_prompt = per_prompt};
          const MaskGradient actual = point_gradient(k.model, request);
          at::Tensor grad;
          for (int64_t i = 0; i < 3; i++) {
            request.added[0].value = every[i];
            const MaskGradient one = point_gradient(k.model, request);
            grad = grad.defined() ? grad + one.grad : one.grad;
            CHECK_CLOSE(actual.logits[i], one.logits, 1e-4, 1e-4);
          }
          const bool wide = type == at::kDouble;
          CHECK_CLOSE(
              actual.grad, grad / 3, wide ? 1e-8 : 1e-3, wide ? 1e-10 : 1e-5);
        }
      }
    }
  });
}

TEST(a_run_from_a_block_on_scores_the_sources_behind_it) {
  for_each_kind([](const Shape& s) {
    const Kind k(s);
    PointAttribution request{
        .clean = clean_of(k),
        .differences = outputs_of(k, k.corrupt) - outputs_of(k, k.clean),
        .loss = log_answers_of(k.clean.size(0)),
        .added = {{"blocks.1.hook_attn_out", noise(k, true)}}};
    const at::Tensor all = point_gradient(k.model, request).grad;
    const HookId heads = k.model.model().hook_id("blocks.1.attn.hook_result");
    request.src_start = k.model.wrapper(heads)->src_start;
    request.src_stop = request.src_start + 1;
    at::Tensor expected = at::zeros_like(all);
    for (const PatchWrapper& w : k.model.wrappers()) {
      if (w.is_dest() && w.in_start <= request.src_start &&
          request.src_start < w.in_stop) {
        const auto column = request.src_start - w.in_start;
        w.module_values(expected)
            .select(-1, column)
            .copy_(w.module_values(all).select(-1, column));
      }
    }
    CHECK_CLOSE(point_gradient(k.model, request).grad, expected, 1e-8, 1e-10);
    ForwardRequest reading;
    reading.input = clean_of(k);
    reading.reads = {"blocks.1.hook_resid_pre"};
    {
      const at::NoGradGuard no_grad;
      request.clean.value = forward(k.model, reading).reads[0];
    }
    request.clean.is_resid = true;
    request.clean.start_block = 1;
    CHECK_CLOSE(point_gradient(k.model, request).grad, expected, 1e-8, 1e-10);
  });
}

TEST(edge_attribution_tells_the_differences) {
  for_each_kind([](const Shape& s) {
    const Kind k(s);
    const at::Tensor corrupt = outputs_of(k, k.corrupt);
    EdgeAttribution request{
        .clean = clean_of(k),
        .patch_src_outs = corrupt,
        .loss = log_answers_of(k.clean.size(0))};
    const int64_t batch = k.clean.size(0);
    const MaskGradient expected =
        edge_attribution(k.model, request, {batch, false});
    CHECK(!expected.differences.defined());
    request.want_differences = true;
    const MaskGradient actual =
        edge_attribution(k.model, request, {batch, false});
    CHECK_CLOSE(actual.grad, expected.grad, 1e-8, 1e-10);
    // Of the last block's, the last position alone.
    const at::Tensor differences = corrupt - outputs_of(k, k.clean);
    const int64_t last = differences.size(2) - 1;
    CHECK_CLOSE(
        actual.differences.select(2, last),
        differences.select(2, last),
        1e-8,
        1e-10);
    const int64_t before =
        k.model.wrapper(k.model.model().hook_id("blocks.1.attn.hook_result"))
            ->src_start;
    CHECK_CLOSE(
        actual.differences.narrow(0, 0, before),
        differences.narrow(0, 0, before),
        1e-8,
        1e-10);
    CHECK(actual.differences.isfinite().all().item<bool>());
    CHECK_THROWS(edge_attribution(k.model, request, {1, false}), "at once");
  });
}

TEST(effects_of_patterns_are_those_of_runs_with_each_source_patched) {
  for_each_kind([](const Shape& s) {
    const Kind k(s);
    const at::NoGradGuard no_grad;
    const std::string hook = "blocks.1.attn.hook_pattern";
    ForwardRequest reading;
    reading.input = clean_of(k);
    reading.reads = {"blocks.1.hook_resid_pre", hook};
    const std::vector<at::Tensor> clean = forward(k.model, reading).reads;
    const at::Tensor corrupt = outputs_of(k, k.corrupt);
    const at::Tensor differences = corrupt - outputs_of(k, k.clean);
    PatternEffects request;
    request.pattern = clean[1];
    request.gradient = at::randn_like(clean[1]);
    request.stream.value = clean[0];
    request.stream.is_resid = true;
    request.stream.start_block = 1;
    for (const bool keys : {false, true}) {
      const PatchWrapper* w = k.model.wrapper(k.model.model().hook_id(
          keys ? "blocks.1.hook_k_input" : "blocks.1.hook_q_input"));
      if (w == nullptr) {
        continue; // of a graph without separate queries and keys
      }
      request.of_keys = keys;
      request.differences = differences.narrow(0, w->in_start, w->n_in());
      const at::Tensor actual = pattern_effects(k.model, request);
      for (int64_t source = 0; source < w->n_in(); source++) {
        const at::Tensor masks = at::zeros_like(k.context.masks);
        w->module_values(masks).select(-1, source).fill_(1);
        const PatchContext context{
            .patch_src_outs = corrupt, .masks = masks, .transform = {}};
        ForwardRequest patched = reading;
        patched.context = &context;
        const at::Tensor pattern = forward(k.model, patched).reads[1];
        CHECK_CLOSE(
            actual[source],
            ((pattern - clean[1]) * request.gradient).sum(-1),
            1e-8,
            1e-9);
      }
    }
  });
}

// A vector added where a block begins gives the run from that block with it.
TEST(additions_are_other_residual_streams) {
  for_each_kind([](const Shape& s) {
    const Kind k(s);
    const c10::NoGradGuard no_grad;
    for (const PlanPolicy policy :
         {PlanPolicy::kReference, PlanPolicy::kBuffered, PlanPolicy::kAuto}) {
      ForwardRequest reading;
      reading.input = clean_of(k);
      reading.reads = {"blocks.1.hook_resid_pre"};
      const at::Tensor stream = forward(k.model, reading).reads[0];
      for (const bool all : {true, false}) {
        const at::Tensor added = noise(k, all);
        ForwardRequest adding;
        adding.input = clean_of(k);
        adding.policy = policy;
        adding.added = {{"blocks.1.hook_resid_pre", added}};
        ForwardRequest from_there;
        from_there.input.value = stream + added;
        from_there.input.is_resid = true;
        from_there.input.start_block = 1;
        CHECK_CLOSE(
            forward(k.model, adding).logits,
            forward(k.model, from_there).logits,
            1e-8,
            1e-10);
      }
    }
  });
}

// Patching does not take away what is added, however much is patched.
TEST(additions_stay_where_edges_are_patched) {
  for_each_kind([](const Shape& s) {
    const Kind k(s);
    const c10::NoGradGuard no_grad;
    for (const at::Tensor& masks :
         {at::ones_like(k.context.masks), k.context.masks}) {
      PatchContext context = k.context;
      context.masks = masks;
      ForwardRequest request;
      request.input = clean_of(k);
      request.context = &context;
      request.added = {{"blocks.0.hook_attn_out", noise(k, true)}};
      request.policy = PlanPolicy::kReference;
      const at::Tensor expected = forward(k.model, request).logits;
      request.policy = PlanPolicy::kAuto;
      CHECK_CLOSE(forward(k.model, request).logits, expected, 1e-8, 1e-10);
      request.added.clear();
      CHECK(!at::allclose(forward(k.model, request).logits, expected));
    }
  });
}

TEST(additions_that_do_not_fit_are_refused) {
  const Kind k(llama());
  const c10::NoGradGuard no_grad;
  const auto run = [&](const std::string& hook, const at::Tensor& value) {
    ForwardRequest request;
    request.input = clean_of(k);
    request.added = {{hook, value}};
    return forward(k.model, request);
  };
  const at::Tensor fits = noise(k, true);
  CHECK_THROWS(run("blocks.0.hook_resid_prr", fits), "no hook point");
  CHECK_THROWS(run("blocks.0.attn.hook_z", fits), "blocks.0.attn.hook_z");
  CHECK_THROWS(
      run("blocks.0.hook_resid_pre", fits.narrow(2, 0, 1)), "to add of");
  CHECK_THROWS(run("blocks.0.hook_resid_pre", fits[0]), "to add of");
  CHECK_THROWS(
      run("blocks.0.hook_resid_pre", fits.to(at::kFloat)), "fit the weights");
  CHECK_THROWS(run("blocks.0.hook_resid_pre", {}), "fit the weights");
}

} // namespace autocircuit::test
