// Mask functions: their values, and the distributions of their noise.
#include "autocircuit/patch/mask_fn.h"

#include <torch/csrc/autograd/autograd.h>

#include "devices.h"

#include "check.h"

namespace autocircuit::test {

namespace {

constexpr int64_t kDraws = 200000;

MaskTransform seeded(MaskFn fn, int64_t seed, int64_t step) {
  return {
      .fn = fn,
      .dropout = 0,
      .noise = {.seed = seed, .step = step, .uniforms = {}}};
}

double share(const at::Tensor& chosen) {
  return chosen.to(at::kDouble).mean().item<double>();
}

double sigmoid(double x) {
  return 1 / (1 + std::exp(-x));
}

} // namespace

TEST(values_without_noise) {
  const at::Tensor masks = to_device(at::tensor({-2.0, 0.0, 0.5, 3.0}));
  CHECK_CLOSE(
      mask_values(masks, false, 3, seeded(MaskFn::kNone, 0, 0)), masks, 0, 0);
  CHECK_CLOSE(
      mask_values(masks, false, 3, seeded(MaskFn::kSigmoid, 0, 0)),
      1 / (1 + (-masks).exp()),
      1e-14,
      1e-14);
}

TEST(hard_concrete_samples_have_their_distribution) {
  // A sample is 0 where the concrete value is at most 1/12, 1 from 11/12 on.
  const double cut = 2.0 / 3.0 * std::log(11.0);
  for (const double mask : {-1.0, 0.0, 2.0}) {
    const at::Tensor samples = mask_values(
        to_device(at::full({kDraws}, mask, at::kDouble)),
        false,
        1,
        seeded(MaskFn::kHardConcrete, 1, 1));
    CHECK_EQUAL(samples.sizes().vec(), (std::vector<int64_t>{1, kDraws}));
    CHECK(share((samples >= 0) * (samples <= 1)) == 1);
    CHECK_CLOSE(share(samples == 0), sigmoid(-cut - mask), 0, 0.005);
    CHECK_CLOSE(share(samples == 1), sigmoid(mask - cut), 0, 0.005);
  }
}

TEST(each_example_draws_its_own_samples) {
  const at::Tensor masks = to_device(at::zeros({64}, at::kDouble));
  const at::Tensor samples =
      mask_values(masks, false, 3, seeded(MaskFn::kHardConcrete, 1, 1));
  CHECK_EQUAL(samples.sizes().vec(), (std::vector<int64_t>{3, 64}));
  CHECK(!at::equal(samples[0], samples[1]));
  CHECK(!at::equal(samples[1], samples[2]));
}

TEST(noise_depends_on_seed_and_step_and_on_nothing_else) {
  const at::Tensor masks = to_device(at::zeros({1000}, at::kDouble));
  const auto draw = [&](int64_t seed, int64_t step) {
    return mask_values(
        masks, false, 1, seeded(MaskFn::kHardConcrete, seed, step));
  };
  at::manual_seed(1);
  const at::Tensor first = draw(3, 4);
  const at::Tensor global = at::rand({8});
  CHECK_CLOSE(draw(3, 4), first, 0, 0);
  CHECK(!at::equal(draw(3, 5), first));
  CHECK(!at::equal(draw(4, 3), first));
  CHECK(!at::equal(draw(4, 4), first));
  // LibTorch's own generator is left alone.
  at::manual_seed(1);
  CHECK_CLOSE(at::rand({8}), global, 0, 0);
  // Neighbouring steps are uncorrelated.
  const at::Tensor x = first.flatten() - first.mean();
  const at::Tensor y = draw(3, 5).flatten() - draw(3, 5).mean();
  const double correlation =
      ((x * y).mean() / (x.std() * y.std())).item<double>();
  CHECK_CLOSE(correlation, 0, 0, 0.1);
}

TEST(dropout_drops_its_share_and_scales_the_rest) {
  MaskTransform transform = seeded(MaskFn::kNone, 2, 1);
  transform.dropout = 0.3;
  const at::Tensor values = mask_values(
      to_device(at::ones({kDraws}, at::kDouble)), false, 1, transform);
  CHECK_CLOSE(share(values == 0), 0.3, 0, 0.005);
  const at::Tensor kept = values.masked_select(values != 0);
  CHECK_CLOSE(kept, at::full_like(kept, 1 / 0.7), 1e-12, 0);
}

TEST(dropout_and_samples_are_independent) {
  MaskTransform transform = seeded(MaskFn::kHardConcrete, 2, 1);
  const at::Tensor masks = to_device(at::zeros({kDraws}, at::kDouble));
  const at::Tensor samples = mask_values(masks, false, 1, transform);
  transform.dropout = 0.5;
  const at::Tensor dropped = mask_values(masks, false, 1, transform);
  const at::Tensor high = samples > 0.5;
  // Among high samples, half are dropped.
  CHECK_CLOSE(share(dropped.masked_select(high) == 0), 0.5, 0, 0.01);
}

TEST(gradients_vanish_where_a_sample_is_cut) {
  at::Tensor masks =
      to_device(at::zeros({1000}, at::kDouble)).requires_grad_(true);
  const at::Tensor samples =
      mask_values(masks, false, 1, seeded(MaskFn::kHardConcrete, 5, 1));
  const at::Tensor grad = torch::autograd::grad({samples.sum()}, {masks})[0];
  const at::Tensor cut = (samples[0] == 0).logical_or(samples[0] == 1);
  CHECK(share(cut) > 0.1);
  CHECK(at::equal(grad == 0, cut));
}

TEST(noise_is_that_of_the_cpu) {
  const at::Device device = other_device_or_skip();
  const at::Tensor masks = at::randn({100}, at::kDouble);
  MaskTransform transform = seeded(MaskFn::kHardConcrete, 5, 1);
  transform.dropout = 0.2;
  CHECK_CLOSE(
      mask_values(masks.to(device), false, 2, transform).cpu(),
      mask_values(masks, false, 2, transform),
      1e-10,
      1e-10);
}

} // namespace autocircuit::test
