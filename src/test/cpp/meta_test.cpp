// Shows without a GPU that nothing in a pass waits for one. Tensors of
// LibTorch's meta device have shapes and no numbers, so whatever reads a number
// on the host, as .item() does, throws there. Copies from the host to a device
// do not show.
#include <ATen/core/grad_mode.h>
#include <torch/csrc/autograd/autograd.h>

#include "autocircuit/attribution/mask_gradient.h"
#include "autocircuit/engine/forward.h"
#include "autocircuit/engine/fully_patched_run.h"
#include "autocircuit/engine/source_ablations.h"
#include "autocircuit/model/precision.h"
#include "kinds.h"

#include "check.h"

namespace autocircuit::test {

namespace {

constexpr int64_t kExamples = 3;
constexpr int64_t kTokens = 5;
constexpr PlanPolicy kPolicies[] = {
    PlanPolicy::kAuto,
    PlanPolicy::kReference,
    PlanPolicy::kBuffered,
    PlanPolicy::kFullyPatched};

at::Tensor on_meta(at::IntArrayRef shape, at::ScalarType type) {
  return at::empty(shape, at::TensorOptions(at::kMeta).dtype(type));
}

/// Holds what Kind is, without numbers.
struct MetaKind {
  explicit MetaKind(
      const Shape& s,
      int64_t seq_len = 0,
      at::ScalarType type = at::kFloat)
      : shape(s),
        model(
            random_transformer(shape, type, at::kMeta),
            edge_wrappers(shape, seq_len)),
        tokens(on_meta({kExamples, kTokens}, at::kLong)) {
    const at::NoGradGuard no_grad;
    context.fully_patched = std::make_shared<FullyPatchedCache>();
    context.patch_src_outs = source_ablations(
        model,
        {.value = tokens},
        BatchAblation::kResample,
        context.fully_patched.get());
    context.masks = on_meta({model.n_masks()}, accumulation_type(type));
  }

  /// Prompts with padding behind a prefix.
  ModelInput padded_input() const {
    ModelInput input{.value = tokens, .attention_mask = tokens};
    const at::Tensor entry = on_meta(
        {1, 2, shape.kv_heads > 0 ? shape.kv_heads : shape.heads, shape.d_head},
        c10::typeMetaToScalarType(model.model().options().dtype()));
    for (int64_t n = 0; n < shape.layers; n++) {
      input.prefix.keys.push_back(entry);
      input.prefix.values.push_back(entry);
    }
    return input;
  }

  void check_forward(const ForwardRequest& request) const {
    const ForwardResult result = forward(model, request);
    CHECK_EQUAL(result.logits.size(-1), shape.d_vocab);
    CHECK(result.logits.is_meta());
    if (request.want_src_outs) {
      CHECK_EQUAL(
          result.src_outs.sizes().vec(),
          (std::vector<int64_t>{
              model.n_srcs(), kExamples, kTokens, shape.d_model}));
    }
  }

  /// Passes of all executors, for inference: where masks were numbers, circuits
  /// would be planned from them.
  void check_patched_forwards(const ModelInput& input) const {
    const at::NoGradGuard no_grad;
    for (const PlanPolicy policy : kPolicies) {
      for (const bool want_src_outs : {false, true}) {
        ForwardRequest request;
        request.input = input;
        request.context = &context;
        request.want_src_outs = want_src_outs;
        request.policy = policy;
        check_forward(request);
      }
    }
  }

  Shape shape;
  PatchableModel model;
  at::Tensor tokens;
  PatchContext context;
};

} // namespace

// Without this, the others would show nothing.
TEST(reading_a_number_throws_on_meta) {
  const at::Tensor x = on_meta({2}, at::kFloat);
  CHECK_THROWS(x.sum().item<float>(), "meta");
  CHECK_THROWS(x.nonzero(), "meta");
  CHECK_THROWS(x.to(at::kCPU), "meta");
}

TEST(plain_forwards_run_on_meta) {
  const at::NoGradGuard no_grad;
  for_each_kind([](const Shape& shape) {
    for (const at::ScalarType type : {at::kFloat, at::kBFloat16}) {
      const MetaKind kind(shape, 0, type);
      for (const ModelInput& input :
           {ModelInput{.value = kind.tokens}, kind.padded_input()}) {
        for (const bool want_src_outs : {false, true}) {
          ForwardRequest request;
          request.input = input;
          request.want_src_outs = want_src_outs;
          kind.check_forward(request);
        }
      }
    }
  });
}

TEST(patched_forwards_run_on_meta) {
  for_each_kind([](const Shape& shape) {
    for (const at::ScalarType type : {at::kFloat, at::kBFloat16}) {
      for (const int64_t seq_len : {int64_t{0}, kTokens}) {
        MetaKind kind(shape, seq_len, type);
        kind.check_patched_forwards({.value = kind.tokens});
        kind.context.masks = kind.context.masks.expand({kExamples, -1});
        kind.check_patched_forwards({.value = kind.tokens});
        kind.check_patched_forwards(kind.padded_input());
      }
    }
  });
}

TEST(patched_forwards_start_late_on_meta) {
  const at::NoGradGuard no_grad;
  MetaKind kind({});
  for (const PlanPolicy policy : kPolicies) {
    ForwardRequest request;
    request.input = {
        .value = on_meta({kExamples, kTokens, kind.shape.d_model}, at::kFloat),
        .start_block = 1,
        .is_resid = true};
    request.start_src_outs = kind.context.patch_src_outs;
    request.context = &kind.context;
    request.policy = policy;
    kind.check_forward(request);
  }
}

TEST(source_ablations_run_on_meta) {
  for_each_kind([](const Shape& shape) {
    const MetaKind kind(shape);
    for (const BatchAblation ablation :
         {BatchAblation::kResample,
          BatchAblation::kZero,
          BatchAblation::kBatchTokenwiseMean,
          BatchAblation::kBatchAllTokMean}) {
      FullyPatchedCache cache;
      for (FullyPatchedCache* fully_patched :
           {static_cast<FullyPatchedCache*>(nullptr), &cache}) {
        CHECK_EQUAL(
            source_ablations(
                kind.model, kind.padded_input(), ablation, fully_patched)
                .sizes()
                .vec(),
            (std::vector<int64_t>{
                kind.model.n_srcs(), kExamples, kTokens, shape.d_model}));
      }
    }
  });
}

TEST(mask_gradients_run_on_meta) {
  for_each_kind([](const Shape& shape) {
    for (const at::ScalarType type : {at::kFloat, at::kBFloat16, at::kHalf}) {
      MetaKind kind(shape, 0, type);
      const at::Tensor answers = kind.tokens.narrow(1, 0, 2);
      for (const GradFunction of :
           {GradFunction::kLogit,
            GradFunction::kProb,
            GradFunction::kLogprob,
            GradFunction::kLogitExp}) {
        for (const AnswerFunction function :
             {AnswerFunction::kAvgDiff,
              AnswerFunction::kAvgVal,
              AnswerFunction::kMse}) {
          const bool targets = function == AnswerFunction::kMse;
          const MaskGradient gradient = mask_gradient(
              kind.model,
              {.value = kind.tokens},
              kind.context,
              {.grad_function = of,
               .answer_function = function,
               .answers = targets ? on_meta({kExamples, shape.d_vocab}, type)
                                  : answers,
               .wrong_answers = answers});
          CHECK_EQUAL(gradient.grad.sizes(), kind.context.masks.sizes());
        }
      }
    }
  });
}

// A step of circuit training, and of what else transforms masks.
TEST(mask_training_runs_on_meta) {
  for_each_kind([](const Shape& shape) {
    for (const int64_t seq_len : {int64_t{0}, kTokens}) {
      MetaKind kind(shape, seq_len);
      kind.context.masks.requires_grad_(true);
      for (const MaskFn fn :
           {MaskFn::kNone, MaskFn::kSigmoid, MaskFn::kHardConcrete}) {
        for (const double dropout : {0.0, 0.1}) {
          kind.context.transform = {.fn = fn, .dropout = dropout, .noise = {}};
          const at::Tensor out = logits(kind.model, kind.tokens, &kind.context);
          const at::Tensor grad =
              torch::autograd::grad({out.sum()}, {kind.context.masks})[0];
          CHECK_EQUAL(grad.sizes(), kind.context.masks.sizes());
        }
      }
    }
  });
}

} // namespace autocircuit::test
