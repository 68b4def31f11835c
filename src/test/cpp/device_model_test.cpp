// Whole models on the device that the tests run on, against the CPU.
#include <ATen/core/grad_mode.h>

#include "autocircuit/attribution/mask_gradient.h"
#include "autocircuit/engine/forward.h"
#include "autocircuit/engine/source_ablations.h"
#include "devices.h"
#include "models.h"

#include "check.h"

namespace autocircuit::test {

namespace {

// One model on both devices, and what it is run on.
struct OnBoth {
  explicit OnBoth(at::Device device)
      : plain(random_transformer(shape, at::kDouble, at::kCPU)),
        cpu(plain, edge_wrappers(shape)),
        there(
            make_model(plain->description(), plain->weights().to(device)),
            edge_wrappers(shape)) {
    at::manual_seed(3);
    clean = at::randint(shape.d_vocab, {3, 4}, at::kLong);
    corrupt = at::randint(shape.d_vocab, {3, 4}, at::kLong);
    on_cpu.patch_src_outs =
        source_ablations(cpu, {.value = corrupt}, BatchAblation::kResample);
    on_cpu.masks = at::rand({cpu.n_masks()}, at::kDouble);
    on_device.patch_src_outs = source_ablations(
        there, {.value = corrupt.to(device)}, BatchAblation::kResample);
    on_device.masks = on_cpu.masks.to(device);
  }

  Shape shape;
  std::shared_ptr<const Model> plain;
  PatchableModel cpu;
  PatchableModel there;
  at::Tensor clean;
  at::Tensor corrupt;
  PatchContext on_cpu;
  PatchContext on_device;
};

} // namespace

// Or the other tests would not notice what is left on the host.
TEST(tensors_of_the_cpu_are_refused_beside_those_of_another_device) {
  const at::Tensor there = at::ones({2}, other_device_or_skip());
  CHECK_THROWS(there + at::ones({2}), "xpected all tensors");
}

TEST(forward_is_that_of_the_cpu) {
  const at::Device device = other_device_or_skip();
  const at::NoGradGuard no_grad;
  const OnBoth m(device);
  CHECK_CLOSE(
      logits(m.there, m.clean.to(device)).cpu(),
      logits(m.cpu, m.clean),
      1e-9,
      1e-9);
}

TEST(source_ablations_is_that_of_the_cpu) {
  const at::Device device = other_device_or_skip();
  const at::NoGradGuard no_grad;
  const OnBoth m(device);
  for (const BatchAblation ablation :
       {BatchAblation::kResample,
        BatchAblation::kZero,
        BatchAblation::kBatchTokenwiseMean,
        BatchAblation::kBatchAllTokMean}) {
    CHECK_CLOSE(
        source_ablations(m.there, {.value = m.corrupt.to(device)}, ablation)
            .cpu(),
        source_ablations(m.cpu, {.value = m.corrupt}, ablation),
        1e-9,
        1e-9);
  }
}

TEST(patched_forward_is_that_of_the_cpu) {
  const at::Device device = other_device_or_skip();
  const at::NoGradGuard no_grad;
  OnBoth m(device);
  for (const MaskFn fn :
       {MaskFn::kNone, MaskFn::kSigmoid, MaskFn::kHardConcrete}) {
    m.on_cpu.transform.fn = m.on_device.transform.fn = fn;
    CHECK_CLOSE(
        logits(m.there, m.clean.to(device), &m.on_device).cpu(),
        logits(m.cpu, m.clean, &m.on_cpu),
        1e-9,
        1e-9);
  }
}

TEST(mask_gradient_is_that_of_the_cpu) {
  const at::Device device = other_device_or_skip();
  const OnBoth m(device);
  const at::Tensor answers = m.clean.narrow(1, 0, 1);
  const at::Tensor wrong = m.clean.narrow(1, 1, 2);
  const auto gradient = [&](const PatchableModel& model,
                            const PatchContext& context,
                            at::Device on) {
    return mask_gradient(
               model,
               {.value = m.clean.to(on)},
               context,
               {.grad_function = GradFunction::kLogprob,
                .answer_function = AnswerFunction::kAvgDiff,
                .answers = answers.to(on),
                .wrong_answers = wrong.to(on)})
        .grad;
  };
  CHECK_CLOSE(
      gradient(m.there, m.on_device, device).cpu(),
      gradient(m.cpu, m.on_cpu, at::kCPU),
      1e-9,
      1e-9);
}

} // namespace autocircuit::test
