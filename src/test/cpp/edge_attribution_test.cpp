// Attribution in parts and with outputs of heads kept small, against the whole.
#include "autocircuit/attribution/attribution_split.h"
#include "autocircuit/engine/forward.h"

#include <ATen/core/grad_mode.h>
#include <ATen/ops/randint.h>

#include "autocircuit/engine/buffered_run.h"
#include "autocircuit/engine/source_ablations.h"
#include "autocircuit/memory/workspace_pool.h"
#include "kinds.h"

#include "check.h"
#include "devices.h"

namespace autocircuit::test {

namespace {

constexpr int64_t kVocabulary = 11; // answers below this

AnswerLoss answers_of(int64_t prompts) {
  return {
      .answers = to_device(at::randint(kVocabulary, {prompts, 2}, at::kLong)),
      .wrong_answers =
          to_device(at::randint(kVocabulary, {prompts, 2}, at::kLong))};
}

EdgeAttribution request_of(const Kind& k, double mask_value) {
  EdgeAttribution request;
  request.clean.value = k.clean;
  request.corrupt.value = k.corrupt;
  request.mask_value = mask_value;
  request.loss = answers_of(k.clean.size(0));
  return request;
}

EdgeAttribution with_activations(const Kind& k, EdgeAttribution request) {
  const c10::NoGradGuard no_grad;
  request.patch_src_outs = source_ablations(
      k.model, request.corrupt, BatchAblation::kBatchTokenwiseMean);
  request.corrupt = {};
  return request;
}

MaskGradient whole(const Kind& k, const EdgeAttribution& request) {
  const at::Tensor patch = request.corrupt.value.defined()
      ? source_ablations(k.model, request.corrupt, BatchAblation::kResample)
      : request.patch_src_outs;
  const at::Tensor masks = at::full(
      {k.model.n_masks()}, request.mask_value, k.context.masks.options());
  return mask_gradient(
      k.model,
      request.clean,
      {.patch_src_outs = patch, .masks = masks, .transform = {}},
      request.loss,
      PlanPolicy::kReference);
}

void check_splits(const Kind& k, const EdgeAttribution& request) {
  const MaskGradient expected = whole(k, request);
  for (const int64_t prompts : {int64_t{1}, request.clean.value.size(0)}) {
    for (const bool compact : {false, true}) {
      if (compact && !fits_compact(k.model, request.mask_value)) {
        continue;
      }
      const MaskGradient actual =
          edge_attribution(k.model, request, {prompts, compact});
      CHECK_CLOSE(actual.grad, expected.grad, 1e-8, 1e-10);
      CHECK_CLOSE(actual.loss, expected.loss, 1e-10, 1e-12);
      CHECK_CLOSE(actual.logits, expected.logits, 1e-8, 1e-10);
    }
  }
}

} // namespace

TEST(parts_and_compact_sources_give_the_gradient_of_the_whole) {
  for_each_kind([](const Shape& s) {
    for (const double value : {0.0, 0.3}) {
      const Kind k(s);
      const EdgeAttribution request = request_of(k, value);
      check_splits(k, request);
      check_splits(k, with_activations(k, request));
    }
  });
}

TEST(gradients_of_masks_per_position) {
  for_each_kind([](const Shape& s) {
    const Kind k(s, /*seq_len=*/Kind(s).clean.size(1));
    check_splits(k, request_of(k, 0));
  });
}

TEST(a_limit_decides_how_attribution_is_split) {
  const Kind k(llama(), 0, at::kFloat);
  const EdgeAttribution request = request_of(k, 0);
  const int64_t batch = k.clean.size(0);
  const auto bytes = [&](int64_t prompts, bool compact) {
    return attribution_bytes(k.model, request, {prompts, compact});
  };
  CHECK(bytes(1, false) < bytes(batch, false));
  const AttributionSplit all =
      split_within(k.model, request, bytes(batch, false));
  CHECK_EQUAL(all.prompts, batch);
  CHECK(!all.compact);
  const AttributionSplit less =
      split_within(k.model, request, bytes(batch, false) - 1);
  CHECK(less.prompts < batch);
  CHECK_THROWS(
      split_within(k.model, request, 1000), "memory limit of at least");
}

TEST(what_does_not_belong_to_the_prompts_is_refused) {
  const Kind k(llama());
  EdgeAttribution request = request_of(k, 0);
  request.loss.answers = request.loss.answers.narrow(0, 0, 1);
  CHECK_THROWS(
      edge_attribution(k.model, request, {1, false}), "expected answers of");
  request = request_of(k, 0);
  request.corrupt.value = request.corrupt.value.narrow(1, 0, 2);
  CHECK_THROWS(
      edge_attribution(k.model, request, {1, true}),
      "expected corrupt prompts");
}

// The rehearsal says what is really taken: it counts small tensors, too.
TEST(attribution_takes_as_much_memory_as_estimated) {
  cpu_only("its memory");
  for (const at::ScalarType type : {at::kFloat, at::kBFloat16}) {
    for (Shape s : {Shape(), llama(), gemma()}) {
      s.d_model = 128;
      s.heads = 8;
      s.d_head = 16;
      s.d_mlp = 512;
      s.layers = 6;
      s.n_ctx = 64;
      Kind k(s, 0, type);
      EdgeAttribution request = request_of(k, 0);
      const auto tokens = [] {
        return at::randint(kVocabulary, {4, 48}, at::kLong);
      };
      request.clean.value = tokens();
      request.corrupt.value = tokens();
      request.loss = answers_of(4);
      for (const bool compact : {false, true}) {
        const AttributionSplit split{4, compact};
        const WorkspaceScope scope;
        reset_most_workspace();
        const int64_t before = workspace_stats().leased_bytes;
        edge_attribution(k.model, request, split);
        const int64_t taken = workspace_stats().most_leased - before;
        const int64_t estimate = attribution_bytes(k.model, request, split);
        CHECK(taken <= estimate);
        CHECK(estimate <= taken + taken / 4);
      }
    }
  }
}

} // namespace autocircuit::test
