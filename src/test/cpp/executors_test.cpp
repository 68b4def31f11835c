// Every fast executor against the reference one.
#include <ATen/core/grad_mode.h>
#include <torch/csrc/autograd/autograd.h>

#include "autocircuit/attribution/mask_gradient.h"
#include "autocircuit/engine/workspace_pool.h"
#include "autocircuit/patch/source_ablations.h"
#include "kinds.h"

#include "check.h"

namespace autocircuit::test {

namespace {

enum class MaskKind {
  kZero,
  kOne,
  kUniform,
  kSparse,
  kCoSparse,
  kMixed,
  kRandom
};
constexpr MaskKind kMaskKinds[] = {
    MaskKind::kZero,
    MaskKind::kOne,
    MaskKind::kUniform,
    MaskKind::kSparse,
    MaskKind::kCoSparse,
    MaskKind::kMixed,
    MaskKind::kRandom};

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

struct Tolerance {
  double relative;
  double absolute;
};

Tolerance tolerance(at::ScalarType type) {
  switch (type) {
    case at::kDouble:
      return {1e-9, 1e-9};
    case at::kFloat:
      return {1e-3, 1e-3};
    default: // these small models put out sums of many terms near 1
      return {0.2, 0.5};
  }
}

// 16-bit runs round differently in every plan, and single logits of these
// models may be far off: there, the error of all of them counts.
void check_logits(
    const at::Tensor& actual,
    const at::Tensor& expected,
    Tolerance close) {
  if (expected.element_size() > 2) {
    CHECK_CLOSE(actual, expected, close.relative, close.absolute);
    return;
  }
  const auto norm = [](const at::Tensor& x) {
    return x.to(at::kDouble).norm().item<double>();
  };
  CHECK(
      norm(actual.to(at::kDouble) - expected.to(at::kDouble)) <=
      0.1 * norm(expected));
}

// Without gradients and source outputs, what the masks need is planned; with
// activations that remember their run with all masks 1 and without.
void check_plans_agree(
    const Kind& kind,
    ForwardRequest request,
    const at::Tensor& logits,
    Tolerance close) {
  const at::NoGradGuard no_grad;
  PatchContext context = *request.context;
  request.context = &context;
  for (const PlanPolicy policy :
       {PlanPolicy::kAuto, PlanPolicy::kBuffered, PlanPolicy::kAllOnes}) {
    request.policy = policy;
    const WorkspaceScope workspace;
    context.all_ones = nullptr;
    check_logits(forward(kind.model, request).logits, logits, close);
    context.all_ones = std::make_shared<AllOnesCache>();
    for (int again = 0; again < 2; again++) {
      check_logits(forward(kind.model, request).logits, logits, close);
    }
    // Plans may leave out what the last position's logits do not need.
    ForwardRequest last = request;
    last.input.slice = OutputSlice::kLastSeq;
    check_logits(forward(kind.model, last).logits, logits.select(1, -1), close);
  }
}

// Logits, source outputs and gradients of both executors.
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
  CHECK_CLOSE(actual.logits, expected.logits, close.relative, close.absolute);
  CHECK_CLOSE(
      actual.src_outs, expected.src_outs, close.relative, close.absolute);
  request.want_src_outs = false;
  check_plans_agree(kind, request, expected.logits, close);

  AnswerLoss loss;
  loss.answers = at::tensor({1, 2, 3}, at::kLong).view({3, 1});
  loss.wrong_answers = at::tensor({4, 5, 6}, at::kLong).view({3, 1});
  const auto [wanted, got] = both([&](PlanPolicy policy) {
    return mask_gradient(kind.model, input, context, loss, policy);
  });
  const double scale = wanted.grad.abs().max().to(at::kDouble).item<double>();
  CHECK_CLOSE(got.loss, wanted.loss, close.relative, close.absolute);
  CHECK_CLOSE(
      got.grad, wanted.grad, close.relative, close.absolute * (1 + scale));
}

void check_executors_agree(
    const Kind& kind,
    const PatchContext& context,
    Tolerance close) {
  check_executors_agree(kind, {.value = kind.clean}, context, close);
}

} // namespace

TEST(executors_agree_on_every_kind_and_mask) {
  for_each_kind([](const Shape& shape) {
    for (const at::ScalarType type : {at::kDouble, at::kFloat, at::kBFloat16}) {
      Kind kind(shape, 0, type);
      for (const MaskKind masks : kMaskKinds) {
        kind.context.masks = masks_of(
            masks, {kind.model.n_masks()}, kind.context.masks.options());
        check_executors_agree(kind, kind.context, tolerance(type));
      }
    }
  });
}

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

TEST(executors_agree_on_padding_behind_a_prefix) {
  for_each_kind([](const Shape& shape) {
    Kind kind(shape);
    const int64_t kv_heads = shape.kv_heads > 0 ? shape.kv_heads : shape.heads;
    const auto entry = [&](int64_t rows) {
      return at::randn({rows, 3, kv_heads, shape.d_head}, at::kDouble);
    };
    for (const int64_t rows : {int64_t{1}, kind.clean.size(0)}) {
      ModelInput input{
          .value = kind.corrupt,
          .attention_mask =
              at::tensor(
                  {0, 0, 0, 1, 1, 1, 1, 1, 1, 1, 0, 0, 0, 0, 1}, at::kLong)
                  .view({3, 5})};
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

TEST(plans_agree_on_circuits) {
  for_each_kind([](const Shape& shape) {
    for (const int64_t seq_len : {int64_t{0}, int64_t{5}}) {
      Kind kind(shape, seq_len);
      auto cache = std::make_shared<AllOnesCache>();
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
          kind.context.all_ones = nullptr;
          request.policy = PlanPolicy::kReference;
          const at::Tensor expected = forward(kind.model, request).logits;
          kind.context.all_ones = cache;
          request.policy = PlanPolicy::kAllOnes;
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

// ---- Workspaces
// --------------------------------------------------------------

TEST(workspaces_are_used_again) {
  const at::Tensor big = at::ones({64, 1024});
  const auto pass = [&] {
    const WorkspaceScope workspace;
    CHECK_CLOSE(big + big, at::full({64, 1024}, 2.0), 0, 0);
  };
  pass();
  const WorkspaceStats before = workspace_stats();
  for (int i = 0; i < 10; i++) {
    pass();
  }
  CHECK_EQUAL(workspace_stats().fresh_blocks, before.fresh_blocks);
  CHECK_EQUAL(workspace_stats().leased_bytes, before.leased_bytes);
}

TEST(a_workspace_stays_leased_while_a_tensor_holds_it) {
  at::Tensor held;
  const auto make = [] {
    const WorkspaceScope workspace;
    return at::zeros({64, 1024});
  };
  held = make();
  for (int i = 0; i < 5; i++) {
    make().fill_(7);
  }
  CHECK_CLOSE(held, at::zeros({64, 1024}), 0, 0);
}

TEST(idle_workspaces_stay_within_the_limit) {
  const int64_t before = workspace_limit();
  set_workspace_limit(1 << 20);
  {
    const WorkspaceScope workspace;
    std::vector<at::Tensor> many;
    for (int i = 0; i < 40; i++) {
      many.push_back(at::empty({16, 1024}));
    }
  }
  CHECK(workspace_stats().idle_bytes <= 1 << 20);
  set_workspace_limit(0);
  CHECK_EQUAL(workspace_stats().idle_bytes, int64_t{0});
  set_workspace_limit(before);
}

// A second pass while the backward of the first is still to come.
TEST(a_pending_backward_is_not_disturbed_by_later_passes) {
  Kind kind({});
  kind.context.masks.requires_grad_(true);
  const auto pass = [&] {
    const WorkspaceScope workspace;
    return logits(kind.model, kind.clean, &kind.context).square().sum();
  };
  const at::Tensor expected =
      torch::autograd::grad({pass()}, {kind.context.masks})[0];
  const at::Tensor pending = pass();
  for (int i = 0; i < 3; i++) {
    torch::autograd::grad({pass()}, {kind.context.masks});
  }
  CHECK_CLOSE(
      torch::autograd::grad({pending}, {kind.context.masks})[0],
      expected,
      0,
      0);
}

} // namespace autocircuit::test
