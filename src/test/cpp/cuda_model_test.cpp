// Whole models on a CUDA device, against the CPU.
#include <ATen/core/grad_mode.h>

#include "autocircuit/attribution/mask_gradient.h"
#include "autocircuit/patch/patchable_model.h"
#include "autocircuit/patch/source_ablations.h"
#include "devices.h"
#include "models.h"

#include "check.h"

namespace autocircuit::test {

namespace {

// One model on both devices, and what it is run on.
struct OnBoth {
  explicit OnBoth(at::Device cuda)
      : plain(random_transformer(shape, at::kDouble)),
        cpu(plain, edge_wrappers(shape)),
        gpu(make_model(plain->description(), plain->weights().to(cuda)),
            edge_wrappers(shape)) {
    at::manual_seed(3);
    clean = at::randint(shape.d_vocab, {3, 4}, at::kLong);
    corrupt = at::randint(shape.d_vocab, {3, 4}, at::kLong);
    on_cpu.patch_src_outs =
        source_ablations(cpu, {.value = corrupt}, BatchAblation::kResample);
    on_cpu.masks = at::rand({cpu.n_masks()}, at::kDouble);
    on_gpu.patch_src_outs = source_ablations(
        gpu, {.value = corrupt.to(cuda)}, BatchAblation::kResample);
    on_gpu.masks = on_cpu.masks.to(cuda);
  }

  Shape shape;
  std::shared_ptr<const Model> plain;
  PatchableModel cpu;
  PatchableModel gpu;
  at::Tensor clean;
  at::Tensor corrupt;
  PatchContext on_cpu;
  PatchContext on_gpu;
};

} // namespace

TEST(cuda_forward) {
  const at::Device cuda = cuda_or_skip();
  const at::NoGradGuard no_grad;
  const OnBoth m(cuda);
  CHECK_CLOSE(
      logits(m.gpu, m.clean.to(cuda)).cpu(),
      logits(m.cpu, m.clean),
      1e-9,
      1e-9);
}

TEST(cuda_source_ablations) {
  const at::Device cuda = cuda_or_skip();
  const at::NoGradGuard no_grad;
  const OnBoth m(cuda);
  for (const BatchAblation ablation :
       {BatchAblation::kResample,
        BatchAblation::kZero,
        BatchAblation::kBatchTokenwiseMean,
        BatchAblation::kBatchAllTokMean}) {
    CHECK_CLOSE(
        source_ablations(m.gpu, {.value = m.corrupt.to(cuda)}, ablation).cpu(),
        source_ablations(m.cpu, {.value = m.corrupt}, ablation),
        1e-9,
        1e-9);
  }
}

TEST(cuda_patched_forward) {
  const at::Device cuda = cuda_or_skip();
  const at::NoGradGuard no_grad;
  OnBoth m(cuda);
  for (const MaskFn fn :
       {MaskFn::kNone, MaskFn::kSigmoid, MaskFn::kHardConcrete}) {
    m.on_cpu.transform.fn = m.on_gpu.transform.fn = fn;
    CHECK_CLOSE(
        logits(m.gpu, m.clean.to(cuda), &m.on_gpu).cpu(),
        logits(m.cpu, m.clean, &m.on_cpu),
        1e-9,
        1e-9);
  }
}

TEST(cuda_mask_gradient) {
  const at::Device cuda = cuda_or_skip();
  const OnBoth m(cuda);
  const at::Tensor answers = m.clean.narrow(1, 0, 1);
  const at::Tensor wrong = m.clean.narrow(1, 1, 2);
  const auto gradient = [&](const PatchableModel& model,
                            const PatchContext& context,
                            at::Device device) {
    return mask_gradient(
               model,
               {.value = m.clean.to(device)},
               context,
               {.grad_function = GradFunction::kLogprob,
                .answer_function = AnswerFunction::kAvgDiff,
                .answers = answers.to(device),
                .wrong_answers = wrong.to(device)})
        .grad;
  };
  CHECK_CLOSE(
      gradient(m.gpu, m.on_gpu, cuda).cpu(),
      gradient(m.cpu, m.on_cpu, at::kCPU),
      1e-9,
      1e-9);
}

} // namespace autocircuit::test
