// Every fast executor against the reference one: masks per position and
// example, padding, prefixes, circuits and ablations.
#include <ATen/core/grad_mode.h>

#include <cmath>

#include "autocircuit/engine/forward.h"
#include "autocircuit/engine/source_ablations.h"
#include "executors.h"

#include "check.h"
#include "devices.h"
#include "threads.h"

namespace autocircuit::test {

TEST(executors_agree_on_masks_per_position_and_example) {
  for_each_kind([](const Shape& shape) {
    for (const int64_t seq_len : {int64_t{0}, int64_t{5}}) {
      for (const at::ScalarType type : {at::kDouble, at::kFloat}) {
        Kind kind(shape, seq_len, type);
        for (const bool per_example : {false, true}) {
          std::vector<int64_t> size{kind.model.n_masks()};
          if (per_example) {
            size.insert(size.begin(), kind.clean.size(0));
          }
          kind.context.masks =
              masks_of(MaskKind::kMixed, size, kind.context.masks.options());
          for (const MaskFn fn :
               {MaskFn::kNone, MaskFn::kSigmoid, MaskFn::kHardConcrete}) {
            kind.context.transform = {
                .fn = fn,
                .dropout = 0.2,
                .noise = {.seed = 3, .step = 1, .uniforms = {}}};
            check_executors_agree(kind, kind.context, tolerance(type));
          }
        }
      }
    }
  });
}

// Wide enough that every step of a pass is divided among threads.
TEST(executors_agree_on_several_threads) {
  const Threads scope(3);
  const Shape grouped = llama();
  for (Shape shape : {Shape(), grouped}) {
    const int64_t wider = 256 / shape.d_model;
    shape.d_model *= wider;
    shape.d_head *= wider;
    shape.d_mlp = 4 * shape.d_model;
    shape.d_vocab = 700;
    shape.n_ctx = 12;
    for (const at::ScalarType type : {at::kDouble, at::kFloat}) {
      Kind kind(shape, /*seq_len=*/0, type);
      // Or activations grow until rounding is all there is.
      for (at::Tensor w : kind.model.model().weights().tensors()) {
        if (w.dim() == 2) {
          w.mul_(1 / std::sqrt(static_cast<double>(wider)));
        }
      }
      kind.clean = to_device(at::randint(shape.d_vocab, {3, 12}, at::kLong));
      kind.context.patch_src_outs = source_ablations(
          kind.model,
          {.value = to_device(at::randint(shape.d_vocab, {3, 12}, at::kLong))},
          BatchAblation::kResample);
      for (const MaskKind masks : {MaskKind::kSparse, MaskKind::kRandom}) {
        kind.context.masks = masks_of(
            masks, {kind.model.n_masks()}, kind.context.masks.options());
        check_executors_agree(kind, kind.context, tolerance(type));
      }
    }
  }
}

TEST(executors_agree_on_padding_behind_a_prefix) {
  for_each_kind([](const Shape& shape) {
    Kind kind(shape);
    const int64_t kv_heads = shape.kv_heads > 0 ? shape.kv_heads : shape.heads;
    const auto entry = [&](int64_t rows) {
      return to_device(
          at::randn({rows, 3, kv_heads, shape.d_head}, at::kDouble));
    };
    for (const int64_t rows : {int64_t{1}, kind.clean.size(0)}) {
      ModelInput input{
          .value = kind.corrupt,
          .attention_mask = to_device(
              at::tensor(
                  {0, 0, 0, 1, 1, 1, 1, 1, 1, 1, 0, 0, 0, 0, 1}, at::kLong)
                  .view({3, 5}))};
      for (int64_t n = 0; n < shape.layers; n++) {
        input.prefix.keys.push_back(entry(rows));
        input.prefix.values.push_back(entry(rows));
      }
      kind.context.patch_src_outs =
          source_ablations(kind.model, input, BatchAblation::kResample);
      input.value = kind.clean;
      for (const MaskKind masks : kMaskKinds) {
        kind.context.masks = masks_of(
            masks, {kind.model.n_masks()}, kind.context.masks.options());
        check_executors_agree(
            kind, input, kind.context, tolerance(at::kDouble));
      }
    }
  });
}

TEST(source_outputs_may_be_those_that_the_last_position_needs) {
  for_each_kind([](const Shape& shape) {
    Kind kind(shape);
    const at::NoGradGuard no_grad;
    for (const bool patched : {false, true}) {
      ForwardRequest request;
      request.input.value = kind.clean;
      request.input.slice = OutputSlice::kLastSeq;
      request.context = patched ? &kind.context : nullptr;
      request.want_src_outs = true;
      const ForwardResult all = forward(kind.model, request);
      request.only_last_counts = true;
      const ForwardResult some = forward(kind.model, request);
      CHECK_CLOSE(some.logits, all.logits, 1e-10, 1e-10);
      const auto last = [](const at::Tensor& src_outs) {
        return src_outs.select(2, -1);
      };
      CHECK_CLOSE(last(some.src_outs), last(all.src_outs), 1e-10, 1e-10);
      const at::Tensor there = some.src_outs != 0;
      CHECK_CLOSE(some.src_outs, all.src_outs * there, 1e-10, 1e-10);
      const bool cut = kind.model.model().can_end_at_last();
      CHECK_EQUAL((all.src_outs * ~there).any().item<bool>(), cut);
    }
  });
}

TEST(plans_agree_on_circuits) {
  for_each_kind([](const Shape& shape) {
    for (const int64_t seq_len : {int64_t{0}, int64_t{5}}) {
      Kind kind(shape, seq_len);
      auto cache = std::make_shared<FullyPatchedCache>();
      const at::NoGradGuard no_grad;
      kind.context.patch_src_outs = source_ablations(
          kind.model,
          {.value = kind.corrupt},
          BatchAblation::kResample,
          cache.get());
      for (const double share : {0.02, 0.05, 0.1, 0.3, 0.6}) {
        for (int i = 0; i < 5; i++) {
          kind.context.masks =
              at::rand({kind.model.n_masks()}, kind.context.masks.options())
                  .gt(share)
                  .to(kind.context.masks.dtype());
          ForwardRequest request;
          request.input.value = kind.clean;
          request.context = &kind.context;
          kind.context.fully_patched = nullptr;
          request.policy = PlanPolicy::kReference;
          const at::Tensor expected = forward(kind.model, request).logits;
          kind.context.fully_patched = cache;
          request.policy = PlanPolicy::kFullyPatched;
          CHECK_CLOSE(
              forward(kind.model, request).logits, expected, 1e-9, 1e-9);
          request.input.slice = OutputSlice::kLastSeq;
          CHECK_CLOSE(
              forward(kind.model, request).logits,
              expected.select(1, -1),
              1e-9,
              1e-9);
        }
      }
    }
  });
}

TEST(activations_forget_what_circuits_need_and_learn_it_again) {
  cpu_only("circuits are planned there only");
  Kind kind{Shape()};
  const at::NoGradGuard no_grad;
  kind.context.fully_patched = std::make_shared<FullyPatchedCache>();
  FullyPatchedCache& cache = *kind.context.fully_patched;
  kind.context.patch_src_outs = source_ablations(
      kind.model, {.value = kind.corrupt}, BatchAblation::kResample, &cache);
  kind.context.masks = masks_of(
      MaskKind::kCoSparse,
      {kind.model.n_masks()},
      kind.context.masks.options());
  ForwardRequest request;
  request.input.value = kind.clean;
  request.context = &kind.context;
  request.policy = PlanPolicy::kFullyPatched;
  CHECK_EQUAL(cache.stats().bytes, int64_t{0});
  const at::Tensor before = forward(kind.model, request).logits;
  CHECK_EQUAL(cache.stats().runs, int64_t{1});
  cache.clear();
  CHECK_EQUAL(cache.stats().bytes, int64_t{0});
  CHECK(forward(kind.model, request).logits.equal(before));
  CHECK_EQUAL(cache.stats().runs, int64_t{1});
}

TEST(executors_agree_on_every_ablation) {
  for (const BatchAblation ablation :
       {BatchAblation::kResample,
        BatchAblation::kZero,
        BatchAblation::kBatchTokenwiseMean,
        BatchAblation::kBatchAllTokMean}) {
    Kind kind({});
    kind.context.patch_src_outs =
        source_ablations(kind.model, {.value = kind.corrupt}, ablation);
    check_executors_agree(kind, kind.context, tolerance(at::kDouble));
  }
}

} // namespace autocircuit::test
