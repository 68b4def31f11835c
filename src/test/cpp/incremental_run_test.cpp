// Tests runs from a baseline against whole runs.
#include <ATen/core/grad_mode.h>

#include <new>
#include <optional>
#include <random>
#include <string>

#include "allocations.h"
#include "autocircuit/engine/forward.h"
#include "autocircuit/engine/incremental_run.h"
#include "autocircuit/engine/plan.h"
#include "autocircuit/engine/source_ablations.h"
#include "executors.h"

#include "check.h"
#include "devices.h"

namespace autocircuit::test {

namespace {

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
  check_agree(run.logits(), whole(kind, request, masks), tolerance(type));
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
    check_agree(logits, whole(kind, request, flipped), tolerance(type));
    if (random() % 2 == 0) {
      run.commit();
      masks = flipped;
    }
  }
}

/// A search that begins where most edges are patched, and makes some `kValue`.
constexpr double kValue = 0.5;
struct Search {
  Search(at::ScalarType type, OutputSlice slice)
      : kind(Shape(), 0, type), mask(at::ones_like(kind.clean)) {
    kind.context.masks =
        (kind.context.masks < 0.7).to(kind.context.masks.dtype());
    kind.context.masks.narrow(0, kind.model.n_masks() - 3, 3).zero_();
    request.input.value = kind.clean;
    request.input.attention_mask = mask;
    request.input.slice = slice;
    request.context = &kind.context;
    run.emplace(std::make_shared<PatchableModel>(kind.model), request);
  }

  at::Tensor expected(const std::vector<int64_t>& places) const {
    at::Tensor masks = kind.context.masks.clone();
    for (const int64_t place : places) {
      masks[place] = kValue;
    }
    return whole(kind, request, masks);
  }

  /// Of some masks, one after another, on top of those that are kept.
  void check_flips_after(const std::vector<int64_t>& kept) {
    std::vector<int64_t> places = kept;
    const Tolerance close =
        tolerance(kind.context.patch_src_outs.scalar_type());
    for (const int64_t place : {int64_t{0}, kind.model.n_masks() - 1}) {
      places.push_back(place);
      check_agree(run->with({place}, kValue), expected(places), close);
      run->commit();
    }
  }

  Kind kind;
  at::Tensor mask;
  ForwardRequest request;
  std::optional<IncrementalRun> run;
};

// One that is kept by its parts, and one that all depends on.
std::vector<std::vector<int64_t>> some_flips() {
  std::vector<int64_t> many;
  for (int64_t place = 0; place < 20; place++) {
    many.push_back(place);
  }
  return {{7}, {3, 12}, many};
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

// Prompts whose first tokens are also those that the activations come from: at
// these positions nothing changes, and nothing is computed.
TEST(flips_of_pairs_that_share_their_beginning) {
  unsigned seed = 200;
  for_each_kind([&](const Shape& shape) {
    for (const int64_t shared : {2, 5}) {
      Kind kind(shape);
      kind.corrupt.narrow(1, 0, shared).copy_(kind.clean.narrow(1, 0, shared));
      if (shared < 5) {
        kind.corrupt[0][shared] = (kind.clean[0][shared] + 1) % shape.d_vocab;
      }
      const auto cache = std::make_shared<FullyPatchedCache>();
      kind.context.fully_patched = cache;
      kind.context.patch_src_outs = source_ablations(
          kind.model,
          {.value = kind.corrupt},
          BatchAblation::kResample,
          cache.get());
      ForwardRequest request = from_tokens(kind);
      for (const OutputSlice slice :
           {OutputSlice::kAll,
            OutputSlice::kLastSeq,
            OutputSlice::kNotFirstSeq}) {
        request.input.slice = slice;
        check_flips(kind, request, 0.5, 0.5, seed++);
      }
      request.context = &kind.context;
      const IncrementalRun run(
          std::make_shared<PatchableModel>(kind.model), request);
      const bool leaves_out = shape.positions == 0 && has_plans(kind.model);
      CHECK_EQUAL(
          run.input().value.size(1),
          leaves_out ? std::max<int64_t>(5 - shared, 1) : 5);
    }
  });
}

// More than are committed before everything is recomputed.
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
  CHECK(run.with({}, 1).equal(before));
  CHECK(run.with({0, 3}, 0).equal(before));
  run.commit();
  CHECK(run.logits().equal(before));
  CHECK_THROWS(run.with({kind.model.n_masks()}, 1), "expected places of masks");
  CHECK_THROWS(run.with({-1}, 1), "expected places of masks");
}

TEST(what_a_run_returns_and_what_it_was_given_are_the_callers) {
  for (const at::ScalarType type : {at::kDouble, at::kBFloat16}) {
    for (const OutputSlice slice : {OutputSlice::kAll, OutputSlice::kLastSeq}) {
      Search search(type, slice);
      const at::Tensor before = search.run->logits().clone();
      search.run->logits().zero_();
      CHECK(search.run->logits().equal(before));
      search.run->with({}, kValue).zero_();
      CHECK(search.run->logits().equal(before));
      const at::Tensor after = search.run->with({1, 4}, kValue).clone();
      CHECK(!after.equal(before));
      search.run->with({1, 4}, kValue).zero_();
      search.kind.clean.zero_();
      search.mask.zero_();
      search.run->commit();
      check_agree(search.run->logits(), after, tolerance(type));
      search.run->logits().zero_();
      check_agree(search.run->logits(), after, tolerance(type));
    }
  }
}

TEST(a_run_says_that_its_weights_have_changed) {
  const at::NoGradGuard no_grad;
  for (const at::ScalarType type : {at::kDouble, at::kBFloat16}) {
    Search search(type, OutputSlice::kLastSeq);
    search.run->with({2}, kValue);
    at::Tensor(search.kind.model.model().weights().tensors()[1]).mul_(2);
    CHECK_THROWS(search.run->with({3}, kValue), "changed in place since");
    CHECK_THROWS(search.run->logits(), "changed in place since");
    CHECK_THROWS(search.run->commit(), "changed in place since");
  }
  Search search(at::kDouble, OutputSlice::kLastSeq);
  search.kind.context.patch_src_outs.mul_(2);
  CHECK_THROWS(search.run->with({3}, kValue), "changed in place since");
}

// Of tensors, and in every step: what is kept by a part of a run, by a whole
// one, and what no plan can be made for.
TEST(memory_that_runs_out_leaves_a_run_as_it_was) {
  cpu_only("its memory");
  for (const at::ScalarType type : {at::kDouble, at::kBFloat16}) {
    for (const std::vector<int64_t>& flips : some_flips()) {
      Search search(type, OutputSlice::kLastSeq);
      const at::Tensor before = search.run->logits();
      at::Tensor after;
      CHECK(
          fail_at_every_allocation(
              [&] { after = search.run->with(flips, kValue); },
              [&] { CHECK(search.run->logits().equal(before)); }) > 5);
      check_agree(after, search.expected(flips), tolerance(type));
      fail_at_every_allocation(
          [&] { search.run->commit(); },
          [&] { CHECK(search.run->logits().equal(before)); });
      check_agree(search.run->logits(), after, tolerance(type));
      search.check_flips_after(flips);
    }
  }
}

// The same of all that `new` makes while a part of a run is kept; the whole
// ones are left out, since LibTorch ends the process in them.
TEST(keeping_where_nothing_can_be_allocated_leaves_a_run_as_it_was) {
  cpu_only("its memory");
  int failed = 0;
  for (const int64_t place : {6, 20, 44}) {
    bool kept = false;
    for (int news = 0; !kept; news++) {
      Search search(at::kDouble, OutputSlice::kLastSeq);
      const at::Tensor before = search.run->logits();
      search.run->with({place}, kValue);
      try {
        const NothingLeft none(news);
        search.run->commit();
        kept = true;
      } catch (const std::bad_alloc&) {
        failed++;
        CHECK(search.run->logits().equal(before));
        search.run->commit();
      }
      search.check_flips_after({place});
    }
  }
  CHECK(failed > 100);
}

} // namespace autocircuit::test
