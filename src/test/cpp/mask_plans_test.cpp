// Plans that are kept with masks against plans that are made for each pass.
#include <ATen/core/grad_mode.h>

#include <memory>

#include "autocircuit/engine/forward.h"
#include "autocircuit/engine/fully_patched_run.h"
#include "autocircuit/engine/mask_plans.h"
#include "executors.h"

#include "check.h"
#include "devices.h"

namespace autocircuit::test {

TEST(plans_are_made_once_and_change_nothing) {
  for_each_kind([](const Shape& shape) {
    const Kind kind(shape);
    const at::NoGradGuard no_grad;
    for (const MaskKind masks : kMaskKinds) {
      PatchContext context = kind.context;
      context.masks =
          masks_of(masks, {kind.model.n_masks()}, context.masks.options());
      PatchContext planned = context;
      planned.plans = std::make_shared<MaskPlans>();
      int64_t made = -1;
      for (int round = 0; round < 3; round++) {
        for (const auto& cache :
             {std::shared_ptr<FullyPatchedCache>(),
              std::make_shared<FullyPatchedCache>()}) {
          for (const MaskFn fn : {MaskFn::kNone, MaskFn::kSigmoid}) {
            for (const PlanPolicy policy :
                 {PlanPolicy::kAuto, PlanPolicy::kFullyPatched}) {
              const auto run = [&](PatchContext& of) {
                of.fully_patched = cache;
                of.transform.fn = fn;
                ForwardRequest request;
                request.input.value = kind.clean;
                request.context = &of;
                request.policy = policy;
                return forward(kind.model, request).logits;
              };
              CHECK(run(planned).equal(run(context)));
            }
          }
        }
        if (round == 0) {
          made = planned.plans->made();
        }
      }
      CHECK_EQUAL(planned.plans->made(), made);
      // Of each of two functions: from the stream, from the run with all masks
      // 1, the cheaper of the two, and with constant differences.
      CHECK(made <= 8);
    }
  });
}

TEST(plans_of_other_models_and_starts_are_others) {
  cpu_only("circuits are planned there only");
  const Kind kind{Shape()};
  const Kind other{Shape()};
  const at::NoGradGuard no_grad;
  PatchContext context = kind.context;
  context.plans = std::make_shared<MaskPlans>();
  ForwardRequest plain;
  plain.input.value = kind.clean;
  plain.want_src_outs = true;
  plain.reads = {"blocks.1.hook_resid_pre"};
  for (const Kind* of : {&kind, &other}) {
    const ForwardResult clean = forward(of->model, plain);
    ForwardRequest request;
    request.input.value = kind.clean;
    request.context = &context;
    for (int late = 0; late < 2; late++) {
      if (late == 1) {
        request.input = {
            .value = clean.reads[0], .start_block = 1, .is_resid = true};
        request.start_src_outs = clean.src_outs;
      }
      request.policy = PlanPolicy::kAuto;
      const at::Tensor logits = forward(of->model, request).logits;
      request.policy = PlanPolicy::kReference;
      CHECK_CLOSE(logits, forward(of->model, request).logits, 1e-9, 1e-9);
    }
  }
  CHECK_EQUAL(context.plans->made(), int64_t{4});
  for (int64_t start = 0; start < 100; start++) { // no more than some are kept
    context.plans->get(
        {99, MaskFn::kNone, start, MaskPlans::Kind::kCheaper},
        [] { return Plan(); });
  }
  context.plans->get(
      {99, MaskFn::kNone, 0, MaskPlans::Kind::kCheaper}, [] { return Plan(); });
  CHECK_EQUAL(context.plans->made(), int64_t{105});
}

} // namespace autocircuit::test
