#include "executors.h"

#include <ATen/core/grad_mode.h>

#include "autocircuit/attribution/mask_gradient.h"
#include "autocircuit/engine/forward.h"
#include "autocircuit/engine/fully_patched_run.h"
#include "autocircuit/memory/workspace_pool.h"

#include "check.h"

namespace autocircuit::test {

at::Tensor masks_of(
    MaskKind kind,
    std::vector<int64_t> shape,
    const at::TensorOptions& options) {
  const at::Tensor random = at::rand(shape, options);
  switch (kind) {
    case MaskKind::kZero:
      return at::zeros(shape, options);
    case MaskKind::kOne:
      return at::ones(shape, options);
    case MaskKind::kUniform:
      return at::full(shape, 0.3, options);
    case MaskKind::kSparse:
      return at::rand(shape, options).gt(0.9).to(options.dtype());
    case MaskKind::kCoSparse: // a circuit
      return at::rand(shape, options).gt(0.2).to(options.dtype());
    case MaskKind::kMixed:
      return at::where(random > 0.6, at::ones_like(random), random)
          .mul(at::rand(shape, options) > 0.3);
    case MaskKind::kRandom:
      return random;
  }
  TORCH_CHECK(false, "no such kind of masks");
}

Tolerance tolerance(at::ScalarType type) {
  switch (type) {
    case at::kDouble:
      return {1e-9, 1e-9};
    case at::kFloat:
      return {1e-3, 1e-3};
    default:
      return {0, 0, 0.05};
  }
}

void check_agree(
    const at::Tensor& actual,
    const at::Tensor& expected,
    Tolerance close) {
  if (close.of_norm == 0) {
    CHECK_CLOSE(actual, expected, close.relative, close.absolute);
    return;
  }
  const auto norm = [](const at::Tensor& x) {
    return x.to(at::kDouble).norm().item<double>();
  };
  const double error = norm(actual.to(at::kDouble) - expected.to(at::kDouble));
  if (!(error <= close.of_norm * norm(expected))) {
    fail(__FILE__, __LINE__, "error ", error, " of ", norm(expected));
  }
}

namespace {

// Without gradients and source outputs, what the masks need is planned; with
// activations that cache their fully patched run and without.
void check_plans_agree(
    const Kind& kind,
    ForwardRequest request,
    const at::Tensor& logits,
    Tolerance close) {
  const at::NoGradGuard no_grad;
  PatchContext context = *request.context;
  request.context = &context;
  for (const PlanPolicy policy :
       {PlanPolicy::kAuto, PlanPolicy::kBuffered, PlanPolicy::kFullyPatched}) {
    request.policy = policy;
    const WorkspaceScope workspace;
    context.fully_patched = nullptr;
    check_agree(forward(kind.model, request).logits, logits, close);
    context.fully_patched = std::make_shared<FullyPatchedCache>();
    for (int again = 0; again < 2; again++) {
      check_agree(forward(kind.model, request).logits, logits, close);
    }
    // Plans may leave out what the last position's logits do not need.
    ForwardRequest last = request;
    last.input.slice = OutputSlice::kLastSeq;
    check_agree(forward(kind.model, last).logits, logits.select(1, -1), close);
  }
}

} // namespace

void check_executors_agree(
    const Kind& kind,
    const ModelInput& input,
    const PatchContext& context,
    Tolerance close) {
  ForwardRequest request;
  request.input = input;
  request.context = &context;
  request.want_src_outs = true;
  const auto both = [&](const auto& run) {
    const auto reference = run(PlanPolicy::kReference);
    const WorkspaceScope workspace;
    return std::pair(reference, run(PlanPolicy::kAuto));
  };
  const auto [expected, actual] = both([&](PlanPolicy policy) {
    request.policy = policy;
    return forward(kind.model, request);
  });
  check_agree(actual.logits, expected.logits, close);
  check_agree(actual.src_outs, expected.src_outs, close);
  request.want_src_outs = false;
  check_plans_agree(kind, request, expected.logits, close);

  AnswerLoss loss;
  loss.answers = to_device(at::tensor({1, 2, 3}, at::kLong).view({3, 1}));
  loss.wrong_answers = to_device(at::tensor({4, 5, 6}, at::kLong).view({3, 1}));
  const auto [wanted, got] = both([&](PlanPolicy policy) {
    return mask_gradient(kind.model, input, context, loss, policy);
  });
  const double scale = wanted.grad.abs().max().to(at::kDouble).item<double>();
  check_agree(got.loss, wanted.loss, close);
  close.absolute *= 1 + scale;
  check_agree(got.grad, wanted.grad, close);
}

void check_executors_agree(
    const Kind& kind,
    const PatchContext& context,
    Tolerance close) {
  check_executors_agree(kind, {.value = kind.clean}, context, close);
}

} // namespace autocircuit::test
