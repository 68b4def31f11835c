// Runs that go on from a known one against whole runs.
#include <ATen/core/grad_mode.h>

#include <random>

#include "autocircuit/engine/all_ones_run.h"
#include "autocircuit/engine/incremental_run.h"
#include "autocircuit/patch/source_ablations.h"
#include "kinds.h"

#include "check.h"

namespace autocircuit::test {

namespace {

double close(at::ScalarType type) {
  return type == at::kDouble ? 1e-9 : type == at::kFloat ? 1e-3 : 0.5;
}

ForwardRequest from_tokens(const Kind& kind) {
  ForwardRequest request;
  request.input.value = kind.clean;
  return request;
}

at::Tensor whole(
    const Kind& kind,
    ForwardRequest request,
    const at::Tensor& masks) {
  const at::NoGradGuard no_grad;
  PatchContext context = *request.context;
  context.masks = masks;
  request.context = &context;
  request.policy = PlanPolicy::kReference;
  return forward(kind.model, request).logits;
}

// Flips of random masks, of which some are kept, from `share` of ones on.
void check_flips(
    Kind& kind,
    ForwardRequest request,
    double share,
    double to_one,
    unsigned seed,
    int n_flips = 12) {
  const at::TensorOptions options = kind.context.masks.options();
  const at::ScalarType type = kind.context.patch_src_outs.scalar_type();
  at::Tensor masks =
      (at::rand({kind.model.n_masks()}, options) < share).to(options.dtype());
  kind.context.masks = masks;
  request.context = &kind.context;
  IncrementalRun run(std::make_shared<PatchableModel>(kind.model), request);
  CHECK_CLOSE(
      run.logits(), whole(kind, request, masks), close(type), close(type));
  std::mt19937 random(seed);
  for (int i = 0; i < n_flips; i++) {
    std::vector<int64_t> places;
    const int n = i % 4 == 3 ? 5 : 1;
    for (int k = 0; k < n; k++) {
      places.push_back(static_cast<int64_t>(
          random() % static_cast<unsigned>(kind.model.n_masks())));
    }
    const double draw = static_cast<double>(random() % 1000) / 1000;
    const double value = i % 7 == 6 ? 0.3 : draw < to_one ? 1.0 : 0.0;
    at::Tensor flipped = masks.clone();
    for (const int64_t place : places) {
      flipped[place] = value;
    }
    const at::Tensor logits = run.with(places, value);
    CHECK_CLOSE(
        logits, whole(kind, request, flipped), close(type), close(type));
    if (random() % 2 == 0) {
      run.keep();
      masks = flipped;
    }
  }
}

} // namespace

TEST(flips_of_every_kind_are_those_of_whole_runs) {
  unsigned seed = 0;
  for_each_kind([&](const Shape& shape) {
    for (const at::ScalarType type : {at::kDouble, at::kFloat, at::kBFloat16}) {
      for (const double share : {0.0, 0.1, 0.5, 0.9, 1.0}) {
        Kind kind(shape, 0, type);
        ForwardRequest request = from_tokens(kind);
        request.input.slice =
            seed % 2 == 0 ? OutputSlice::kLastSeq : OutputSlice::kAll;
        check_flips(kind, request, share, share < 0.3 ? 0.9 : 0.5, seed++);
      }
    }
  });
}

TEST(flips_at_single_positions_with_padding_and_activations_of_any_kind) {
  unsigned seed = 100;
  for_each_kind([&](const Shape& shape) {
    for (const double share : {0.0, 0.8}) {
      Kind kind(shape, 5);
      ForwardRequest request = from_tokens(kind);
      request.input.attention_mask = at::ones_like(kind.clean);
      request.input.attention_mask[0].narrow(0, 0, 2).zero_();
      check_flips(kind, request, share, 0.8, seed++);
      request.input.slice = OutputSlice::kLastSeq;
      kind.context.patch_src_outs = at::randn_like(kind.context.patch_src_outs);
      check_flips(kind, request, share, 0.2, seed++);
    }
  });
}

// More than are kept before all is computed anew.
TEST(many_flips_in_a_row_do_not_drift) {
  for (const at::ScalarType type : {at::kDouble, at::kFloat}) {
    for (const OutputSlice slice : {OutputSlice::kAll, OutputSlice::kLastSeq}) {
      Kind kind(Shape(), 0, type);
      ForwardRequest request = from_tokens(kind);
      request.input.slice = slice;
      check_flips(kind, request, 0.5, 0.5, /*seed=*/7, /*n_flips=*/300);
    }
  }
}

TEST(nothing_changes_where_no_mask_does) {
  Kind kind(kinds()[0].second);
  kind.context.masks = at::zeros_like(kind.context.masks);
  ForwardRequest request = from_tokens(kind);
  request.context = &kind.context;
  IncrementalRun run(std::make_shared<PatchableModel>(kind.model), request);
  const at::Tensor before = run.logits();
  CHECK(run.with({}, 1).is_same(before));
  CHECK(run.with({0, 3}, 0).is_same(before));
  run.keep();
  CHECK(run.logits().is_same(before));
  CHECK_THROWS(run.with({kind.model.n_masks()}, 1), "expected places of masks");
  CHECK_THROWS(run.with({-1}, 1), "expected places of masks");
}

} // namespace autocircuit::test
