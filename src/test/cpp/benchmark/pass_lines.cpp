// Whole passes: plain, patched everywhere, circuits of each ablation, tests of
// a search, and the gradient of masks; of the last position's logits, with
// source activations, masks and their plans at hand.
#include <ATen/ops/cat.h>
#include <ATen/ops/full.h>
#include <ATen/ops/rand.h>
#include <ATen/ops/randint.h>

#include <cmath>
#include <memory>
#include <utility>

#include "autocircuit/attribution/mask_gradient.h"
#include "autocircuit/engine/forward.h"
#include "autocircuit/engine/fully_patched_run.h"
#include "autocircuit/engine/incremental_run.h"
#include "autocircuit/engine/mask_plans.h"
#include "autocircuit/engine/source_ablations.h"
#include "autocircuit/memory/workspace_pool.h"
#include "lines.h"
#include "models.h"

namespace autocircuit::benchmark {

namespace {

test::Shape shape_of(const Size& size) {
  test::Shape shape;
  shape.layers = size.layers;
  shape.d_model = size.d_model;
  shape.heads = size.heads;
  shape.d_head = size.d_head();
  shape.d_mlp = 4 * size.d_model;
  shape.d_vocab = size.d_vocab;
  shape.n_ctx = size.seq;
  return shape;
}

struct Passes {
  Passes(const Size& of, at::Device on)
      : size(of),
        device(on),
        model(
            test::random_transformer(shape_of(of), at::kFloat, on),
            test::edge_wrappers(shape_of(of))),
        clean(tokens()),
        corrupt(tokens()) {
    // Or activations grow from block to block.
    for (at::Tensor w : model.model().weights().tensors()) {
      if (w.dim() == 2) {
        w.mul_(1 / std::sqrt(static_cast<double>(w.size(0)) / 4));
      }
    }
  }

  at::Tensor tokens() const {
    return at::randint(size.d_vocab, {size.batch, size.seq}, at::kLong)
        .to(device);
  }

  ForwardRequest request(const PatchContext* context) const {
    ForwardRequest request;
    request.input.value = clean;
    request.input.slice = OutputSlice::kLastSeq;
    request.context = context;
    return request;
  }

  void run(const PatchContext* context) const {
    const WorkspaceScope workspace;
    forward(model, request(context));
  }

  PatchContext context(BatchAblation ablation) const {
    return context(ablation, corrupt);
  }
  PatchContext context(BatchAblation ablation, const at::Tensor& of) const {
    PatchContext context;
    context.fully_patched = std::make_shared<FullyPatchedCache>();
    context.patch_src_outs = source_ablations(
        model, {.value = of}, ablation, context.fully_patched.get());
    return context;
  }

  /// Corrupt prompts that begin as the clean ones.
  at::Tensor half_corrupt() const {
    const int64_t half = size.seq / 2;
    return at::cat(
        {clean.narrow(1, 0, half), corrupt.narrow(1, half, size.seq - half)},
        1);
  }

  Size size;
  at::Device device;
  PatchableModel model;
  at::Tensor clean;
  at::Tensor corrupt;
};

// As if all blocks computed all positions.
double plain_flops(const Size& s) {
  const double weights = 12 * product_of({s.layers, s.d_model, s.d_model});
  const double attention = 2 * product_of({s.layers, s.seq, s.d_model});
  return 2 * static_cast<double>(s.tokens()) * (weights + attention) +
      2 * product_of({s.batch, s.d_model, s.d_vocab});
}

double mixing_flops(const Passes& passes) {
  return 2 *
      product_of(
             {passes.model.n_masks(),
              passes.size.tokens(),
              passes.size.d_model});
}

// Circuits that leave a share of the edges as they are and ablate the rest.
Line circuits(
    const std::shared_ptr<const Passes>& passes,
    const char* ablation_name,
    BatchAblation ablation,
    int64_t percent) {
  const auto contexts = std::make_shared<std::vector<PatchContext>>();
  const PatchContext shared = passes->context(ablation);
  for (int64_t i = 0; i < passes->size.circuits; i++) {
    PatchContext context = shared;
    context.masks = (at::rand({passes->model.n_masks()}) >=
                     static_cast<double>(percent) / 100)
                        .to(at::kFloat)
                        .to(passes->device);
    context.plans = std::make_shared<MaskPlans>(context.masks);
    contexts->push_back(std::move(context));
  }
  return {
      .name = "circuit, " + std::to_string(percent) + " %, " + ablation_name,
      .run =
          [=] {
            for (const PatchContext& context : *contexts) {
              passes->run(&context);
            }
          },
      .runs = static_cast<int>(passes->size.circuits)};
}

// Tests of a search that patches edges one by one, from the last ones on: each
// where some earlier ones and few later ones are left.
Line search_tests(
    const std::shared_ptr<const Passes>& passes,
    const char* name,
    const PatchContext& shared,
    const at::Tensor& draws) {
  constexpr int64_t kTests = 5; // at each place
  constexpr double kLeft = 0.3; // few random edges lead to the end
  const int64_t n = passes->model.n_masks();
  std::vector<std::pair<int64_t, std::shared_ptr<IncrementalRun>>> runs;
  const auto model = std::make_shared<PatchableModel>(passes->model);
  const int64_t places = passes->size.circuits;
  for (int64_t i = 0; i < places; i++) {
    const int64_t place = n * (2 * i + 1) / (2 * places);
    PatchContext context = shared;
    context.masks = (draws >= kLeft).to(at::kFloat);
    context.masks.narrow(0, 0, place + kTests).zero_();
    runs.emplace_back(
        place,
        std::make_shared<IncrementalRun>(model, passes->request(&context)));
  }
  return {
      .name = name,
      .run =
          [=] {
            const WorkspaceScope workspace;
            for (const auto& [place, run] : runs) {
              for (int64_t test = 0; test < kTests; test++) {
                run->with({place + test}, 1);
              }
            }
          },
      .runs = static_cast<int>(places * kTests)};
}

Line gradient(
    const std::shared_ptr<const Passes>& passes,
    const char* name,
    const PatchContext& context) {
  const AnswerLoss loss{
      .answers = passes->clean.narrow(1, 0, 1),
      .wrong_answers = passes->corrupt.narrow(1, 0, 1)};
  return {.name = name, .run = [=] {
            const WorkspaceScope workspace;
            mask_gradient(
                passes->model, passes->request(nullptr).input, context, loss);
          }};
}

} // namespace

std::vector<Line> pass_lines(const Size& size, at::Device device) {
  const auto passes = std::make_shared<const Passes>(size, device);
  std::vector<Line> lines;
  lines.push_back({.name = kPlain, .flops = plain_flops(size), .run = [=] {
                     passes->run(nullptr);
                   }});
  PatchContext everywhere = passes->context(BatchAblation::kResample);
  everywhere.masks = at::rand({passes->model.n_masks()}).to(device);
  lines.push_back(
      {.name = "patched pass, all edges",
       .flops = plain_flops(size) + mixing_flops(*passes),
       .run = [=] { passes->run(&everywhere); }});
  constexpr std::pair<const char*, BatchAblation> kAblations[] = {
      {"RESAMPLE", BatchAblation::kResample},
      {"ZERO", BatchAblation::kZero},
      {"mean", BatchAblation::kBatchTokenwiseMean}};
  for (const auto& [name, ablation] : kAblations) {
    for (const int64_t percent : {3, 10}) {
      lines.push_back(circuits(passes, name, ablation, percent));
    }
  }
  if (device.is_cpu()) {
    const at::Tensor draws = at::rand({passes->model.n_masks()});
    lines.push_back(search_tests(
        passes,
        "search test",
        passes->context(BatchAblation::kResample),
        draws));
    lines.push_back(search_tests(
        passes,
        "search test, half of the tokens shared",
        passes->context(BatchAblation::kResample, passes->half_corrupt()),
        draws));
  }
  lines.push_back(gradient(passes, "mask gradient, random masks", everywhere));
  everywhere.masks = at::zeros_like(everywhere.masks);
  lines.push_back(gradient(passes, "mask gradient, masks 0", everywhere));
  return lines;
}

} // namespace autocircuit::benchmark
