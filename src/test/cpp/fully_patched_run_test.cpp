// Tests what passes with the same source activations share, and when they make
// it.
#include <ATen/core/grad_mode.h>

#include <chrono>
#include <future>
#include <memory>
#include <thread>
#include <vector>

#include "allocations.h"
#include "autocircuit/attribution/attribution_split.h"
#include "autocircuit/engine/forward.h"
#include "autocircuit/engine/fully_patched_run.h"
#include "autocircuit/engine/incremental_run.h"
#include "autocircuit/engine/source_ablations.h"
#include "kinds.h"

#include "check.h"
#include "devices.h"

namespace autocircuit::test {

namespace {

/// A small circuit on activations of no run at all, for batches of any size.
struct SmallCircuit {
  explicit SmallCircuit(
      std::shared_ptr<FullyPatchedCache> fully_patched =
          std::make_shared<FullyPatchedCache>(),
      at::ScalarType type = at::kDouble)
      : kind(Shape(), 0, type), cache(std::move(fully_patched)) {
    cpu_only("circuits are planned there only");
    const at::NoGradGuard no_grad;
    at::manual_seed(5);
    mean = at::randn({kind.model.n_srcs(), 1, 5, kind.shape.d_model})
               .to(kind.context.patch_src_outs.dtype());
    masks =
        (at::rand({kind.model.n_masks()}) > 0.1).to(kind.context.masks.dtype());
  }

  at::Tensor run(
      const ModelInput& input,
      PlanPolicy policy = PlanPolicy::kFullyPatched,
      const at::Tensor& start_src_outs = {}) const {
    const at::NoGradGuard no_grad;
    const PatchContext context{
        .patch_src_outs = mean.expand({-1, input.value.size(0), -1, -1}),
        .masks = masks,
        .transform = {},
        .fully_patched = cache};
    ForwardRequest request;
    request.input = input;
    request.context = &context;
    request.policy = policy;
    request.start_src_outs = start_src_outs;
    return forward(kind.model, request).logits;
  }

  at::Tensor expected(const ModelInput& input) const {
    return run(input, PlanPolicy::kReference);
  }

  ModelInput prompts(int64_t n, int64_t seed = 1) const {
    at::manual_seed(static_cast<uint64_t>(seed));
    return {.value = at::randint(kind.shape.d_vocab, {n, 5}, at::kLong)};
  }

  Kind kind;
  std::shared_ptr<FullyPatchedCache> cache;
  at::Tensor mean;
  at::Tensor masks;
};

at::Tensor padding(int64_t batch, int64_t padded) {
  at::Tensor mask = at::ones({batch, 5}, at::kLong);
  mask.narrow(1, 0, padded).zero_();
  return mask;
}

PrefixCache random_prefix(const Shape& shape) {
  PrefixCache prefix;
  for (int64_t block = 0; block < shape.layers; block++) {
    prefix.keys.push_back(
        at::randn({1, 2, shape.heads, shape.d_head}, at::kDouble));
    prefix.values.push_back(
        at::randn({1, 2, shape.heads, shape.d_head}, at::kDouble));
  }
  return prefix;
}

} // namespace

TEST(tensors_that_are_overwritten_in_place_are_others) {
  SmallCircuit circuit;
  ModelInput input = circuit.prompts(3);
  input.attention_mask = padding(3, 0);
  input.prefix = random_prefix(circuit.kind.shape);
  const auto check = [&](int64_t made) {
    CHECK_CLOSE(circuit.run(input), circuit.expected(input), 1e-9, 1e-9);
    CHECK_EQUAL(circuit.cache->stats().made, made);
  };
  check(1);
  check(1);
  input.attention_mask.copy_(padding(3, 2));
  check(2);
  const at::Tensor view = input.attention_mask.narrow(0, 0, 3);
  input.attention_mask = view;
  check(2);
  view.copy_(padding(3, 1));
  check(3);
  input.prefix.values[0].mul_(2);
  check(4);
  const at::NoGradGuard no_grad;
  at::Tensor weight = circuit.kind.model.model().weights().tensors()[2];
  weight.mul_(1.5);
  check(5);
  circuit.mean.mul_(0.5);
  check(6);
}

TEST(callers_with_other_shapes_keep_each_others_runs) {
  const SmallCircuit circuit;
  std::vector<ModelInput> inputs{circuit.prompts(4), circuit.prompts(2)};
  inputs.push_back(circuit.prompts(4));
  inputs.back().attention_mask = padding(4, 2);
  inputs.push_back(circuit.prompts(4));
  inputs.back().prefix = random_prefix(circuit.kind.shape);
  for (int round = 0; round < 4; round++) {
    for (const ModelInput& input : inputs) {
      CHECK_CLOSE(circuit.run(input), circuit.expected(input), 1e-9, 1e-9);
    }
  }
  const FullyPatchedStats stats = circuit.cache->stats();
  CHECK_EQUAL(stats.made, int64_t{4});
  CHECK_EQUAL(stats.runs, int64_t{4});
}

TEST(runs_asked_for_last_stay_within_the_limit) {
  const auto run_batches = [](const SmallCircuit& circuit,
                              const std::vector<int64_t>& batches) {
    for (const int64_t batch : batches) {
      const ModelInput input = circuit.prompts(batch);
      CHECK_CLOSE(circuit.run(input), circuit.expected(input), 1e-9, 1e-9);
    }
    return circuit.cache->stats();
  };
  const auto of = [&](int64_t limit, const std::vector<int64_t>& batches) {
    return run_batches(
        SmallCircuit(std::make_shared<FullyPatchedCache>(limit)), batches);
  };
  const int64_t one = of(kFullyPatchedBytes, {1}).bytes;
  CHECK(one > 0);
  const int64_t limit = 4 * one; // of batches 1 and 2, not of 1, 2 and 3
  FullyPatchedStats stats = of(limit, {1, 2, 1, 2});
  CHECK_EQUAL(stats.made, int64_t{2});
  stats = of(limit, {1, 2, 3});
  CHECK_EQUAL(stats.runs, int64_t{1});
  CHECK(stats.bytes <= limit);
  // 1 was asked for after 2, so 2 goes when 3 comes.
  stats = of(limit + one / 2, {1, 2, 1, 3, 1});
  CHECK_EQUAL(stats.made, int64_t{3});
  CHECK_EQUAL(stats.runs, int64_t{2});
  // One that is larger than the limit stays until another is asked for.
  stats = of(1, {2, 2});
  CHECK_EQUAL(stats.made, int64_t{1});
  CHECK_EQUAL(stats.runs, int64_t{1});
  stats = of(1, {2, 1, 2});
  CHECK_EQUAL(stats.made, int64_t{3});
  CHECK_EQUAL(stats.runs, int64_t{1});
}

// A thread that stands still while it makes a run holds up nobody else.
TEST(nobody_waits_for_a_run_of_other_shape) {
  const SmallCircuit circuit;
  const ModelInput four = circuit.prompts(4);
  const ModelInput two = circuit.prompts(2);
  const at::Tensor expected_four = circuit.expected(four);
  const at::Tensor expected_two = circuit.expected(two);
  std::promise<void> making;
  std::promise<void> go;
  std::future<void> going = go.get_future();
  std::future<at::Tensor> slow = std::async(std::launch::async, [&] {
    bool stood = false;
    const OnAllocation stand([&] {
      if (!stood && circuit.cache->stats().made == 1) {
        stood = true;
        making.set_value();
        going.wait();
      }
    });
    return circuit.run(four);
  });
  making.get_future().wait();
  std::future<at::Tensor> other =
      std::async(std::launch::async, [&] { return circuit.run(two); });
  const bool done =
      other.wait_for(std::chrono::seconds(30)) == std::future_status::ready;
  circuit.cache->clear(); // whoever makes one is not disturbed
  go.set_value();
  CHECK(done);
  CHECK_CLOSE(other.get(), expected_two, 1e-9, 1e-9);
  CHECK_CLOSE(slow.get(), expected_four, 1e-9, 1e-9);
  CHECK_EQUAL(circuit.cache->stats().runs, int64_t{0});
}

TEST(a_run_that_fails_is_forgotten_and_fails_nobody_else) {
  const SmallCircuit circuit;
  const ModelInput input = circuit.prompts(4);
  const at::Tensor expected = circuit.expected(input);
  std::promise<void> making;
  std::promise<void> go;
  std::future<void> going = go.get_future();
  std::future<at::Tensor> failing = std::async(std::launch::async, [&] {
    const OnAllocation fail([&] {
      if (circuit.cache->stats().made == 1) {
        making.set_value();
        going.wait();
        run_out_of_memory();
      }
    });
    return circuit.run(input);
  });
  making.get_future().wait();
  std::vector<std::future<at::Tensor>> waiting;
  for (int i = 0; i < 3; i++) {
    waiting.push_back(
        std::async(std::launch::async, [&] { return circuit.run(input); }));
  }
  std::this_thread::sleep_for(std::chrono::milliseconds(50));
  go.set_value();
  CHECK_THROWS(failing.get(), "out of native memory");
  for (std::future<at::Tensor>& other : waiting) {
    CHECK_CLOSE(other.get(), expected, 1e-9, 1e-9);
  }
  const FullyPatchedStats stats = circuit.cache->stats();
  CHECK_EQUAL(stats.made, int64_t{2});
  CHECK_EQUAL(stats.runs, int64_t{1});
}

TEST(memory_that_runs_out_anywhere_leaves_the_cache_usable) {
  const SmallCircuit circuit;
  const ModelInput input = circuit.prompts(3);
  const at::Tensor expected = circuit.expected(input);
  at::Tensor logits;
  const int failures = fail_at_every_allocation(
      [&] { logits = circuit.run(input); },
      [&] { CHECK(circuit.cache->stats().runs <= 1); });
  CHECK(failures > 20);
  CHECK_CLOSE(logits, expected, 1e-9, 1e-9);
  CHECK_CLOSE(circuit.run(input), expected, 1e-9, 1e-9);
  CHECK_EQUAL(circuit.cache->stats().runs, int64_t{1});
}

// A pass that starts later gets what it gets, whoever ran before.
TEST(late_starts_do_not_depend_on_who_ran_before) {
  const SmallCircuit circuit;
  const ModelInput input = circuit.prompts(3);
  ForwardRequest plain;
  plain.input = input;
  plain.want_src_outs = true;
  plain.reads = {"blocks.1.hook_resid_pre"};
  const at::NoGradGuard no_grad;
  const ForwardResult clean = forward(circuit.kind.model, plain);
  ModelInput late = input;
  late.value = clean.reads[0];
  late.start_block = 1;
  late.is_resid = true;
  const at::Tensor first =
      circuit.run(late, PlanPolicy::kFullyPatched, clean.src_outs);
  CHECK_EQUAL(circuit.cache->stats().made, int64_t{1});
  CHECK_CLOSE(
      first,
      circuit.run(late, PlanPolicy::kReference, clean.src_outs),
      1e-9,
      1e-9);
  circuit.run(input);
  CHECK(circuit.run(late, PlanPolicy::kFullyPatched, clean.src_outs)
            .equal(first));
  CHECK_EQUAL(circuit.cache->stats().made, int64_t{1});
}

TEST(only_circuits_make_a_run) {
  cpu_only("circuits are planned there only");
  Kind kind{Shape()};
  const auto cache = std::make_shared<FullyPatchedCache>();
  {
    const at::NoGradGuard no_grad;
    kind.context.patch_src_outs = source_ablations(
        kind.model,
        {.value = kind.corrupt},
        BatchAblation::kResample,
        cache.get());
  }
  kind.context.fully_patched = cache;
  kind.context.masks = at::ones_like(kind.context.masks);
  const AnswerLoss loss{
      .grad_function = GradFunction::kLogit,
      .answer_function = AnswerFunction::kAvgVal,
      .answers = kind.clean.narrow(1, 0, 1),
      .wrong_answers = {}};
  mask_gradient(kind.model, {.value = kind.clean}, kind.context, loss);
  const EdgeAttribution attribution{
      .clean = {.value = kind.clean},
      .patch_src_outs = kind.context.patch_src_outs,
      .mask_value = 0.5,
      .loss = loss};
  edge_attribution(
      kind.model,
      attribution,
      split_within(kind.model, attribution, int64_t{1} << 30U));
  ForwardRequest request;
  request.input.value = kind.clean;
  request.context = &kind.context;
  IncrementalRun search(std::make_shared<PatchableModel>(kind.model), request);
  search.with({0}, 0);
  search.commit();
  CHECK_EQUAL(cache->stats().made, int64_t{0});
  const at::NoGradGuard no_grad;
  kind.context.masks[0] = 0;
  forward(kind.model, request);
  CHECK_EQUAL(cache->stats().made, int64_t{1});
}

} // namespace autocircuit::test
