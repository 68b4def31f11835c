// Tests sums that 16 bits would spoil: long sums, large counts, small
// gradients.
#include "autocircuit/model/precision.h"

#include <ATen/core/grad_mode.h>
#include <ATen/ops/matmul.h>
#include <torch/csrc/autograd/autograd.h>

#include "autocircuit/attribution/mask_gradient.h"
#include "autocircuit/engine/source_ablations.h"
#include "autocircuit/ops/product.h"
#include "kinds.h"

#include "check.h"

namespace autocircuit::test {

namespace {

constexpr int64_t kPrompts = 301; // between two numbers of bf16

constexpr at::ScalarType kNarrowTypes[] = {at::kBFloat16, at::kHalf};

// The same model in another type.
std::shared_ptr<const Model> converted(
    const Model& model,
    at::ScalarType type,
    double unembedding) {
  const Weights& w = model.weights();
  std::vector<at::Tensor> tensors;
  for (size_t i = 0; i < w.names().size(); i++) {
    const double scale = w.names()[i] == "unembed.W_U" ? unembedding : 1;
    tensors.push_back((w.tensors()[i] * scale).to(type));
  }
  return make_model(model.description(), {w.names(), tensors});
}

} // namespace

TEST(accumulation_types) {
  CHECK_EQUAL(accumulation_type(at::kDouble), at::kDouble);
  for (const auto type : {at::kFloat, at::kHalf, at::kBFloat16}) {
    CHECK_EQUAL(accumulation_type(type), at::kFloat);
  }
}

// Products of 16-bit operands are those of fp64, rounded once, and so are their
// gradients; on CPUs with instructions for them and on others.
TEST(products_of_16_bits) {
  for (const at::ScalarType type : kNarrowTypes) {
    const double rounding = type == at::kHalf ? 0x1p-11 : 0x1p-8;
    for (const bool batches : {false, true}) {
      const auto random = [&](int64_t n, int64_t m) {
        const at::Tensor x = batches ? at::randn({3, n, m}) : at::randn({n, m});
        return to_device(x.to(type)).requires_grad_(true);
      };
      const at::Tensor a = random(5, 40);
      const at::Tensor b = random(40, 7);
      const at::Tensor y = product(a, b);
      CHECK_EQUAL(y.scalar_type(), type);
      const at::Tensor g = to_device(at::randn(y.sizes()).to(type));
      const auto grads = torch::autograd::grad({y}, {a, b}, {g});
      const auto close = [&](const at::Tensor& x, const at::Tensor& expected) {
        CHECK_EQUAL(x.scalar_type(), type);
        CHECK_CLOSE(x.to(at::kDouble), expected.detach(), rounding, 1e-4);
      };
      const at::Tensor wide_a = a.to(at::kDouble);
      const at::Tensor wide_b = b.to(at::kDouble);
      const at::Tensor wide_g = g.to(at::kDouble);
      close(y, at::matmul(wide_a, wide_b));
      close(grads[0], at::matmul(wide_g, wide_b.transpose(-2, -1)));
      close(grads[1], at::matmul(wide_a.transpose(-2, -1), wide_g));
    }
  }
}

// The mean of many equal prompts is what each of them has.
TEST(means_over_many_prompts_of_16_bits) {
  const c10::NoGradGuard no_grad;
  for (const at::ScalarType type : kNarrowTypes) {
    const Kind k(llama(), 0, type);
    const at::Tensor one = k.clean.narrow(0, 0, 1);
    const at::Tensor present =
        to_device(at::ones({kPrompts, one.size(1)}, at::kLong));
    const at::Tensor expected =
        source_ablations(k.model, {.value = one}, BatchAblation::kResample);
    for (const at::Tensor& mask : {at::Tensor(), present}) {
      ModelInput input;
      input.value = one.expand({kPrompts, -1}).contiguous();
      input.attention_mask = mask;
      const at::Tensor mean =
          source_ablations(k.model, input, BatchAblation::kBatchTokenwiseMean);
      CHECK_EQUAL(mean.scalar_type(), type);
      CHECK_CLOSE(mean.narrow(1, 7, 1), expected, 0, 0);
      input.value.narrow(0, 0, 1).zero_(); // another prompt
      const at::Tensor all =
          source_ablations(k.model, input, BatchAblation::kBatchAllTokMean);
      CHECK(at::isfinite(all).all().item<bool>());
    }
  }
}

// fp16 ends at 6e-8: the gradient of a mean over many prompts is smaller.
TEST(gradients_of_a_mean_over_many_prompts_do_not_vanish) {
  const Kind exact(llama(), 0, at::kHalf);
  const double unembedding = 1e-2;
  const PatchableModel half(
      converted(exact.model.model(), at::kHalf, unembedding),
      edge_wrappers(exact.shape));
  const PatchableModel wide(
      converted(half.model(), at::kDouble, 1), edge_wrappers(exact.shape));
  const auto gradient = [&](const PatchableModel& model) {
    const auto many = [](const at::Tensor& tokens) {
      return tokens.repeat({kPrompts, 1});
    };
    ModelInput input;
    input.value = many(exact.clean);
    PatchContext context;
    {
      const c10::NoGradGuard no_grad;
      context.patch_src_outs = source_ablations(
          model, {.value = many(exact.corrupt)}, BatchAblation::kResample);
    }
    const at::ScalarType type =
        accumulation_type(context.patch_src_outs.scalar_type());
    context.masks = to_device(at::full({model.n_masks()}, 0.5, type));
    AnswerLoss loss;
    loss.answers = to_device(at::full({input.value.size(0), 1}, 1, at::kLong));
    loss.wrong_answers =
        to_device(at::full({input.value.size(0), 1}, 2, at::kLong));
    const at::Tensor grad = mask_gradient(model, input, context, loss).grad;
    CHECK_EQUAL(grad.scalar_type(), type);
    return grad.to(at::kDouble);
  };
  const at::Tensor expected = gradient(wide);
  const at::Tensor error = gradient(half) - expected;
  CHECK_CLOSE(
      error.norm().item<double>() / expected.norm().item<double>(), 0, 0, 1e-2);
}

} // namespace autocircuit::test
