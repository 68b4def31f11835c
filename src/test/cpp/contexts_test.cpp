// Many contexts on one model at once: what the thread sanitizer watches.
#include <ATen/Parallel.h>
#include <ATen/core/grad_mode.h>
#include <torch/csrc/autograd/autograd.h>

#include <barrier>
#include <exception>
#include <functional>
#include <mutex>
#include <thread>

#include "autocircuit/attribution/mask_gradient.h"
#include "autocircuit/bridge/threads.h"
#include "autocircuit/engine/forward.h"
#include "autocircuit/engine/fully_patched_run.h"
#include "autocircuit/engine/source_ablations.h"
#include "autocircuit/memory/workspace_pool.h"
#include "autocircuit/model/precision.h"
#include "models.h"

#include "check.h"
#include "devices.h"

namespace autocircuit::test {

namespace {

constexpr int kThreads = 6;
constexpr int kRounds = 8;

// Runs a body on several threads that start together; throws what one threw.
void together(const std::function<void(int)>& body) {
  std::barrier start(kThreads);
  std::vector<std::exception_ptr> failures(kThreads);
  std::vector<std::thread> threads;
  for (int i = 0; i < kThreads; i++) {
    threads.emplace_back([&, i] {
      start.arrive_and_wait();
      try {
        body(i);
      } catch (...) {
        failures[static_cast<size_t>(i)] = std::current_exception();
      }
    });
  }
  for (std::thread& thread : threads) {
    thread.join();
  }
  for (const std::exception_ptr& failure : failures) {
    if (failure) {
      std::rethrow_exception(failure);
    }
  }
}

// One model and one set of source activations for all threads; an input, masks
// and a mask function for each.
struct Requests {
  explicit Requests(at::ScalarType dtype)
      : model(random_transformer(shape, dtype), edge_wrappers(shape)) {
    at::manual_seed(7);
    patch_src_outs = source_ablations(
        model,
        {.value = to_device(at::randint(shape.d_vocab, {3, 4}, at::kLong))},
        BatchAblation::kResample);
    for (int i = 0; i < kThreads; i++) {
      inputs.push_back(
          to_device(at::randint(shape.d_vocab, {3, 4}, at::kLong)));
      masks.push_back(
          to_device(at::rand({model.n_masks()}, accumulation_type(dtype))));
    }
  }

  PatchContext context(int i) const {
    return {
        .patch_src_outs = patch_src_outs,
        .masks = masks[static_cast<size_t>(i)],
        .transform = {
            .fn = i % 2 == 0 ? MaskFn::kNone : MaskFn::kHardConcrete,
            .noise = {.seed = i, .step = 1, .uniforms = {}}}};
  }

  // A patched pass, a plain one, source activations and a gradient.
  std::vector<at::Tensor> run(int i) const {
    const at::Tensor& input = inputs[static_cast<size_t>(i)];
    const PatchContext own = context(i);
    std::vector<at::Tensor> results;
    {
      const c10::NoGradGuard no_grad;
      const WorkspaceScope workspace;
      results.push_back(logits(model, input, &own));
      results.push_back(logits(model, input));
      results.push_back(source_ablations(
          model, {.value = input}, BatchAblation::kBatchTokenwiseMean));
    }
    const MaskGradient gradient = mask_gradient(
        model,
        {.value = input},
        own,
        {.grad_function = GradFunction::kLogit,
         .answer_function = AnswerFunction::kAvgDiff,
         .answers = to_device(at::tensor({1, 2, 3}, at::kLong).view({3, 1})),
         .wrong_answers =
             to_device(at::tensor({4, 5, 6}, at::kLong).view({3, 1}))});
    results.push_back(gradient.grad);
    return results;
  }

  Shape shape;
  PatchableModel model;
  at::Tensor patch_src_outs;
  std::vector<at::Tensor> inputs;
  std::vector<at::Tensor> masks;
};

void check_contexts_do_not_disturb_each_other(at::ScalarType dtype) {
  const Requests requests(dtype);
  std::vector<std::vector<at::Tensor>> alone;
  for (int i = 0; i < kThreads; i++) {
    alone.push_back(requests.run(i));
  }
  CHECK(!alone[0][0].equal(alone[1][0]));
  together([&](int i) {
    for (int round = 0; round < kRounds; round++) {
      const std::vector<at::Tensor> results = requests.run(i);
      for (size_t k = 0; k < results.size(); k++) {
        CHECK(results[k].equal(alone[static_cast<size_t>(i)][k]));
      }
    }
  });
}

// A circuit for each thread, all of them on the activations of one run.
struct Circuits {
  Circuits(at::ScalarType dtype, bool known)
      : requests(dtype), cache(std::make_shared<FullyPatchedCache>()) {
    const c10::NoGradGuard no_grad;
    at::manual_seed(11);
    corrupt = to_device(at::randint(requests.shape.d_vocab, {3, 4}, at::kLong));
    activations = source_ablations(
        requests.model,
        {.value = corrupt},
        BatchAblation::kResample,
        known ? cache.get() : nullptr);
    const at::TensorOptions options = requests.masks[0].options();
    for (int i = 0; i < kThreads; i++) {
      // Few edges of a circuit are left as they are, or few are patched.
      const double ones = i % 3 == 2 ? 0.03 : 0.97;
      masks.push_back((at::rand({requests.model.n_masks()}, options) < ones)
                          .to(options.dtype()));
    }
  }

  at::Tensor run(
      int i,
      PlanPolicy policy,
      const std::shared_ptr<FullyPatchedCache>& fully_patched) const {
    const c10::NoGradGuard no_grad;
    const WorkspaceScope workspace;
    const PatchContext context{
        .patch_src_outs = activations,
        .masks = masks[static_cast<size_t>(i)],
        .transform = {},
        .fully_patched = fully_patched};
    ForwardRequest request;
    request.input.value = requests.inputs[static_cast<size_t>(i)];
    request.context = &context;
    request.policy = policy;
    const at::Tensor logits = forward(requests.model, request).logits;
    if (fully_patched && policy == PlanPolicy::kFullyPatched &&
        logits.is_cpu()) {
      CHECK_EQUAL(fully_patched->stats().runs, int64_t{1});
    }
    return logits;
  }

  Requests requests;
  std::shared_ptr<FullyPatchedCache> cache;
  at::Tensor corrupt;
  at::Tensor activations;
  std::vector<at::Tensor> masks;
};

// known: the fully patched run is there before the threads begin; otherwise
// the first that needs it makes it.
void check_circuits_share_a_run(at::ScalarType dtype, bool known) {
  const double close = dtype == at::kDouble ? 1e-10 : 1e-3;
  const Circuits circuits(dtype, known);
  std::vector<at::Tensor> alone;
  for (int i = 0; i < kThreads; i++) {
    alone.push_back(circuits.run(i, PlanPolicy::kReference, nullptr));
  }
  // Circuits that no input reaches are the same, bit for bit.
  CHECK(!alone[0].equal(alone[2]));
  together([&](int i) {
    for (int round = 0; round < kRounds; round++) {
      for (const PlanPolicy policy :
           {PlanPolicy::kFullyPatched, PlanPolicy::kAuto}) {
        CHECK_CLOSE(
            circuits.run(i, policy, circuits.cache),
            alone[static_cast<size_t>(i)],
            close,
            close);
      }
    }
  });
}

// Every thread goes backward from a multiple of its own through one recorded
// pass, by all of the graph or by a part of it only.
void check_backwards_through_one_pass(at::ScalarType dtype) {
  const Requests requests(dtype);
  PatchContext context = requests.context(0);
  context.masks = context.masks.detach().requires_grad_(true);
  context.patch_src_outs = context.patch_src_outs.detach().requires_grad_(true);
  const at::Tensor loss =
      logits(requests.model, requests.inputs[0], &context).square().sum();
  const auto gradients = [&](int i) {
    std::vector<at::Tensor> inputs{context.masks};
    if (i % 2 == 0) {
      inputs.push_back(context.patch_src_outs);
    }
    return torch::autograd::grad(
        {loss}, inputs, {at::full_like(loss, i + 1)}, /*retain_graph=*/true);
  };
  std::vector<std::vector<at::Tensor>> alone;
  for (int i = 0; i < kThreads; i++) {
    alone.push_back(gradients(i));
  }
  CHECK(!alone[0][0].equal(alone[1][0]));
  together([&](int i) {
    for (int round = 0; round < 10 * kRounds; round++) {
      const std::vector<at::Tensor> results = gradients(i);
      for (size_t k = 0; k < results.size(); k++) {
        CHECK(results[k].equal(alone[static_cast<size_t>(i)][k]));
      }
    }
  });
}

} // namespace

TEST(backwards_through_one_pass_do_not_disturb_each_other) {
  check_backwards_through_one_pass(at::kDouble);
  check_backwards_through_one_pass(at::kFloat);
  check_backwards_through_one_pass(at::kBFloat16);
}

TEST(circuits_on_many_threads_share_one_run) {
  for (const bool known : {false, true}) {
    check_circuits_share_a_run(at::kDouble, known);
    check_circuits_share_a_run(at::kFloat, known);
  }
}

TEST(contexts_on_one_model_do_not_disturb_each_other) {
  check_contexts_do_not_disturb_each_other(at::kDouble);
}

TEST(contexts_of_the_kernels_do_not_disturb_each_other) {
  check_contexts_do_not_disturb_each_other(at::kFloat);
}

TEST(a_model_outlives_its_owner_in_the_passes_that_run) {
  const Shape shape;
  auto model = std::make_shared<const PatchableModel>(
      random_transformer(shape, at::kDouble), edge_wrappers(shape));
  at::manual_seed(8);
  const at::Tensor input =
      to_device(at::randint(shape.d_vocab, {2, 3}, at::kLong));
  const c10::NoGradGuard no_grad;
  const at::Tensor expected = logits(*model, input);
  std::vector<std::shared_ptr<const PatchableModel>> uses(kThreads, model);
  model.reset();
  together([&](int i) {
    const c10::NoGradGuard no_grad_here;
    const auto use = std::move(uses[static_cast<size_t>(i)]);
    CHECK(logits(*use, input).equal(expected));
  });
}

TEST(workspaces_are_never_shared_by_two_tensors) {
  cpu_only("its memory");
  const int64_t limit = workspace_limit();
  set_workspace_limit(int64_t{1} << 20U);
  const int64_t leased = workspace_stats().leased_bytes;
  std::mutex mutex;
  std::vector<at::Tensor> handed_over(kThreads);
  together([&](int i) {
    const c10::NoGradGuard no_grad;
    for (int round = 0; round < kRounds * 8; round++) {
      const WorkspaceScope workspace;
      // Of sizes that other threads free; the system must give some, too.
      at::Tensor mine = at::full({8 + round % 5, 1024}, i, at::kFloat);
      at::Tensor other = at::full({8 + i, 1024}, -i, at::kFloat);
      CHECK(mine.eq(i).all().item<bool>());
      CHECK(other.eq(-i).all().item<bool>());
      // Another thread's context is dropped here, and mine there.
      const std::lock_guard<std::mutex> lock(mutex);
      std::swap(mine, handed_over[static_cast<size_t>(round) % kThreads]);
    }
  });
  handed_over.clear();
  CHECK_EQUAL(workspace_stats().leased_bytes, leased);
  CHECK(workspace_stats().idle_bytes <= int64_t{1} << 20U);
  set_workspace_limit(limit);
}

TEST(the_number_of_threads_reaches_threads_that_have_computed_before) {
  cpu_only("its threads");
  const int before = at::get_num_threads();
  std::vector<int> seen;
  bridge::set_pool_sizes(2);
  std::barrier step(2);
  std::thread warm([&] {
    for (int round = 0; round < 2; round++) {
      step.arrive_and_wait();
      bridge::follow_pool_sizes();
      seen.push_back(at::get_num_threads());
      step.arrive_and_wait();
    }
  });
  step.arrive_and_wait();
  step.arrive_and_wait();
  bridge::set_pool_sizes(3);
  step.arrive_and_wait();
  step.arrive_and_wait();
  warm.join();
  bridge::set_pool_sizes(before);
  CHECK(seen == std::vector<int>({2, 3}));
}

} // namespace autocircuit::test
