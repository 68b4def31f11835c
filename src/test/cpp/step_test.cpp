// Steps that add tokens to many sequences, against uncached passes from plain
// operations and, bit for bit, against themselves in other company.
#include <ATen/Parallel.h>
#include <ATen/core/grad_mode.h>

#include "autocircuit/engine/forward.h"
#include "executors.h"
#include "steps.h"

#include "check.h"

namespace autocircuit::test {

namespace {

constexpr int64_t kPrompt = 5;
constexpr int64_t kAll = 8;

// Of llama().
constexpr int64_t kRotaryDim = 4;
constexpr double kRotaryBase = 10000;

void for_each_growing_kind(const std::function<void(const Shape&)>& body) {
  for_each_kind([&](const Shape& shape) {
    if (shape.positions == 0) {
      body(shape);
    }
  });
}

PatchableModel model_of(const Shape& shape, at::ScalarType type) {
  PatchableModel model(random_transformer(shape, type), edge_wrappers(shape));
  at::manual_seed(5);
  return model;
}

// Every position at which a step ended, in order.
std::vector<at::Tensor> all_logits(const Generation& generation) {
  std::vector<at::Tensor> all;
  for (const auto& of_request : generation.logits()) {
    for (const auto& [length, logits] : of_request) {
      if (length >= kPrompt) {
        all.push_back(logits);
      }
    }
  }
  return all;
}

void check_equals_uncached(
    const Shape& shape,
    at::ScalarType type,
    Tolerance t) {
  const PatchableModel model = model_of(shape, type);
  const std::vector<Generated> requests = some_requests(model, kAll);
  Generation generation(model, requests);
  generation.run(kPrompt, /*chunk=*/2, /*apart=*/false);
  for (size_t i = 0; i < requests.size(); i++) {
    CHECK_EQUAL(generation.logits()[i].size(), 6U);
    for (const auto& [length, logits] : generation.logits()[i]) {
      try {
        check_agree(logits, uncached(model, requests[i], length), t);
      } catch (const std::exception& e) {
        throw CheckFailure(
            "request " + std::to_string(i) + ", length " +
            std::to_string(length) + ": " + e.what());
      }
    }
  }
}

} // namespace

TEST(every_step_equals_an_uncached_pass) {
  const c10::NoGradGuard no_grad;
  for_each_growing_kind([](const Shape& shape) {
    check_equals_uncached(shape, at::kDouble, tolerance(at::kDouble));
    check_equals_uncached(shape, at::kFloat, tolerance(at::kFloat));
  });
}

TEST(steps_in_16_bits_equal_uncached_passes) {
  const c10::NoGradGuard no_grad;
  for (const Shape& shape : {Shape{}, llama(), gemma()}) {
    for (const at::ScalarType type : {at::kBFloat16, at::kHalf}) {
      check_equals_uncached(shape, type, tolerance(type));
    }
  }
}

// Keys and values of the plain prompt are what a cache by tokens would give.
TEST(keys_and_values_of_the_plain_prompt_miss) {
  const c10::NoGradGuard no_grad;
  for_each_growing_kind([](const Shape& shape) {
    const PatchableModel model = model_of(shape, at::kDouble);
    const Generated request = some_requests(model, kAll)[1];
    Generation plain(model, {{.tokens = request.tokens}});
    plain.run(kPrompt, kPrompt, false);
    Generation patched(model, {request});
    patched.run(kPrompt, kPrompt, false);
    const at::Tensor expected = uncached(model, request, kPrompt + 1);
    // The same step behind the plain prompt.
    Generation wrong(
        model,
        {{.tokens = request.tokens.narrow(1, 0, kPrompt)},
         {.tokens = request.corrupt.narrow(1, 0, kPrompt)}});
    wrong.run(kPrompt, kPrompt, false);
    const auto behind_plain = [&](Sequence& from, bool may_be_patched) {
      const auto to = new_sequence(model, kAll, may_be_patched);
      for (int64_t block = 0; block < shape.layers; block++) {
        to->write(
            block,
            0,
            from.keys(block)
                .permute({1, 3, 0, 2})
                .flatten(0, 1)
                .narrow(0, 0, kPrompt),
            from.values(block).narrow(1, 0, kPrompt).transpose(0, 1));
      }
      to->commit(kPrompt);
      return to;
    };
    StepRequest step{
        .chunks =
            {{.sequence = behind_plain(wrong.sequence(0), true),
              .position = kPrompt,
              .tokens = 1,
              .wants_logits = true,
              .donor = 1,
              .masks = std::make_shared<StepMasks>(model, request.masks)},
             {.sequence = behind_plain(wrong.sequence(1), false),
              .position = kPrompt,
              .tokens = 1}},
        .tokens = at::cat(
            {request.tokens.narrow(1, kPrompt, 1),
             request.corrupt.narrow(1, kPrompt, 1)},
            1)};
    const at::Tensor missed = autocircuit::step(model, step).logits[0];
    const double miss = (missed - expected).abs().max().item<double>();
    if (!(miss > 1e-7 * expected.abs().max().item<double>())) {
      throw CheckFailure("missed by " + std::to_string(miss) + " only");
    }
    CHECK_CLOSE(patched.logits()[0][1].second, expected, 1e-9, 1e-9);
  });
}

TEST(company_chunks_and_threads_change_no_bit) {
  if (!test_device().is_cpu()) {
    SKIP("bits are promised on the CPU");
  }
  const c10::NoGradGuard no_grad;
  const int threads = at::get_num_threads();
  for_each_growing_kind([](const Shape& small) {
    Shape shape = small;
    shape.d_mlp = 37; // in no vector's multiple
    shape.d_vocab = 83;
    const PatchableModel model = model_of(shape, at::kFloat);
    std::vector<Generated> requests = some_requests(model, kAll);
    for (int copies = 0; copies < 2; copies++) { // more than 16 rows of logits
      const std::vector<Generated> more = some_requests(model, kAll);
      requests.insert(requests.end(), more.begin(), more.end());
    }
    Generation alone(model, requests);
    at::set_num_threads(1);
    alone.run(kPrompt, kPrompt, /*apart=*/true);
    const std::vector<at::Tensor> expected = all_logits(alone);
    for (const int n : {1, 3}) {
      at::set_num_threads(n);
      for (const int64_t chunk : {1, 2, 3}) {
        Generation together(model, requests);
        together.run(kPrompt, chunk, /*apart=*/false);
        const std::vector<at::Tensor> actual = all_logits(together);
        CHECK_EQUAL(actual.size(), expected.size());
        for (size_t i = 0; i < actual.size(); i++) {
          CHECK_CLOSE(actual[i], expected[i], 0, 0);
        }
      }
    }
  });
  at::set_num_threads(threads);
}

// Across blocks of keys, and across the edge of a window.
TEST(long_sequences_equal_uncached_passes) {
  const c10::NoGradGuard no_grad;
  Shape windowed = gemma();
  windowed.more =
      "rotary_dim=4\nrotary_base=10000\nrotary_pairs=half\n"
      "act_fn=gelu_new\nattn_soft_cap=1.5\nwindow=70\nwindow_every=2\n";
  for (Shape shape : {Shape{}, llama(), windowed}) {
    shape.n_ctx = 200;
    shape.d_head = 12;
    if (!shape.learned) {
      shape.d_head = 4;
    }
    for (const at::ScalarType type : {at::kDouble, at::kFloat}) {
      const PatchableModel model = model_of(shape, type);
      std::vector<Generated> requests = some_requests(model, 150);
      requests.resize(3);
      Generation generation(model, requests);
      generation.run(/*prompt=*/141, /*chunk=*/47, /*apart=*/false);
      for (size_t i = 0; i < requests.size(); i++) {
        for (const auto& [length, logits] : generation.logits()[i]) {
          check_agree(
              logits, uncached(model, requests[i], length), tolerance(type));
        }
      }
    }
  }
}

// Logits are the same where all angles are wrong by the same amount, since they
// follow from differences of positions: only the keys themselves tell.
TEST(keys_are_turned_by_the_angles_of_their_positions) {
  const c10::NoGradGuard no_grad;
  const PatchableModel model = model_of(llama(), at::kDouble);
  const Generated request = some_requests(model, kAll)[0];
  Generation generation(model, {request});
  generation.run(kPrompt, /*chunk=*/2, /*apart=*/false);
  ForwardRequest pass;
  pass.reads = {"blocks.1.attn.hook_k"};
  pass.input.value = request.tokens;
  // [tokens, heads, d_head], before they are turned
  const at::Tensor keys = forward(model, pass).reads[0][0];
  const auto turned = [&](int64_t position, int64_t angle) {
    const at::Tensor key = keys[position].narrow(1, 0, kRotaryDim);
    const at::Tensor i = at::arange(kRotaryDim / 2, keys.options());
    const at::Tensor angles = static_cast<double>(angle) *
        at::pow(kRotaryBase, i * (-2.0 / kRotaryDim));
    const at::Tensor a = key.narrow(1, 0, kRotaryDim / 2);
    const at::Tensor b = key.narrow(1, kRotaryDim / 2, kRotaryDim / 2);
    return at::cat(
        {a * angles.cos() - b * angles.sin(),
         b * angles.cos() + a * angles.sin(),
         keys[position].narrow(1, kRotaryDim, keys.size(2) - kRotaryDim)},
        1);
  };
  const int64_t length = generation.sequence(0).length();
  CHECK(length > kPrompt);
  const at::Tensor kept =
      generation.sequence(0).keys(1).permute({1, 3, 0, 2}).flatten(0, 1);
  for (int64_t p = 0; p < length; p++) {
    CHECK_CLOSE(kept[p], turned(p, p), 1e-9, 1e-9);
    const at::Tensor off = kept[p] - turned(p, p + 1);
    CHECK(off.abs().max().item<double>() > 1e-4);
  }
}

TEST(a_fork_goes_on_as_what_it_was_made_from) {
  const c10::NoGradGuard no_grad;
  for (const at::ScalarType type : {at::kFloat, at::kDouble}) {
    const PatchableModel model = model_of(llama(), type);
    const Generated request = some_requests(model, kAll)[0];
    Generation generation(model, {request});
    generation.run(kPrompt, kPrompt, false);
    const auto fork = generation.sequence(0).fork(kPrompt, kAll);
    CHECK_EQUAL(fork->length(), kPrompt);
    StepRequest step{
        .chunks =
            {{.sequence = fork,
              .position = kPrompt,
              .tokens = 1,
              .wants_logits = true}},
        .tokens = request.tokens.narrow(1, kPrompt, 1)};
    CHECK_CLOSE(
        autocircuit::step(model, step).logits[0],
        generation.logits()[0][1].second,
        0,
        0);
    CHECK_THROWS(fork->fork(kAll, kAll), "expected a length of 0 to 6, got 8");
  }
}

TEST(what_is_added_and_read_is_that_of_passes) {
  const c10::NoGradGuard no_grad;
  const std::vector<std::string> reads{
      "blocks.0.hook_resid_pre",
      "blocks.1.mlp.hook_post",
      "blocks.1.attn.hook_z",
      "blocks.1.attn.hook_result",
      "blocks.1.hook_resid_post",
      "ln_final.hook_normalized"};
  for (const Shape& shape : {Shape{}, llama()}) {
    const PatchableModel model = model_of(shape, at::kDouble);
    std::vector<Generated> requests = some_requests(model, kAll);
    for (size_t i = 0; i < requests.size(); i += 2) {
      requests[i].added.push_back(
          {.hook = "blocks.1.hook_resid_pre",
           .value = to_device(at::rand({1, 1, shape.d_model}, at::kDouble))});
    }
    Generation generation(model, requests);
    const std::vector<int64_t> prompts(requests.size(), kPrompt);
    generation.step(prompts, reads);
    CHECK_EQUAL(generation.reads().size(), reads.size());
    for (size_t i = 0; i < requests.size(); i++) {
      const Generated& request = requests[i];
      CHECK_CLOSE(
          generation.logits()[i][0].second,
          uncached(model, request, kPrompt),
          1e-9,
          1e-9);
      if (request.masks.defined()) {
        continue;
      }
      ForwardRequest pass;
      pass.reads = reads;
      pass.input.value = request.tokens.narrow(1, 0, kPrompt);
      for (const StepAddition& addition : request.added) {
        pass.added.push_back({addition.hook, addition.value});
      }
      const ForwardResult expected = forward(model, pass);
      for (size_t r = 0; r < reads.size(); r++) {
        CHECK_CLOSE(
            generation.reads()[r][static_cast<int64_t>(i)],
            expected.reads[r].select(1, kPrompt - 1)[0],
            1e-9,
            1e-9);
      }
    }
  }
}

TEST(a_step_that_is_stopped_or_fails_leaves_sequences_as_they_were) {
  const c10::NoGradGuard no_grad;
  const PatchableModel model = model_of(llama(), at::kFloat);
  const Generated request = some_requests(model, kAll)[0];
  const auto sequence = new_sequence(model, kAll, false);
  const int32_t stop = 1;
  StepRequest step{
      .chunks =
          {{.sequence = sequence, .tokens = kPrompt, .wants_logits = true}},
      .tokens = request.tokens.narrow(1, 0, kPrompt),
      .stop = &stop};
  CHECK(autocircuit::step(model, step).stopped);
  CHECK_EQUAL(sequence->length(), 0);
  step.stop = nullptr;
  const at::Tensor tokens = step.tokens;
  step.tokens =
      at::full_like(tokens, model.model().weights().tensors()[0].size(0));
  CHECK_THROWS(autocircuit::step(model, step), "expected tokens from 0 to");
  CHECK_EQUAL(sequence->length(), 0);
  step.tokens = tokens;
  CHECK_CLOSE(
      autocircuit::step(model, step).logits[0],
      uncached(model, request, kPrompt),
      1e-4,
      1e-4);
  CHECK_EQUAL(sequence->length(), kPrompt);
}

TEST(steps_that_fit_nothing_are_refused) {
  const c10::NoGradGuard no_grad;
  Shape shape = llama();
  shape.ungrouped = true;
  const PatchableModel model = model_of(shape, at::kDouble);
  const PatchableModel other = model_of(Shape{}, at::kDouble);
  const std::vector<Generated> requests = some_requests(model, kAll);
  const auto masks = std::make_shared<StepMasks>(model, requests[1].masks);
  const auto refused = [&](const std::vector<StepChunk>& chunks,
                           const std::string& why) {
    int64_t tokens = 0;
    for (const StepChunk& chunk : chunks) {
      tokens += chunk.tokens;
    }
    StepRequest step{
        .chunks = chunks,
        .tokens = to_device(at::zeros({1, tokens}, at::kLong))};
    CHECK_THROWS(autocircuit::step(model, step), why);
  };
  const auto fresh = [&](bool patched) {
    return new_sequence(model, 4, patched);
  };
  refused({{.sequence = fresh(false), .tokens = 5}}, "expected 1 to 4 tokens");
  refused(
      {{.sequence = fresh(false), .position = 1, .tokens = 1}},
      "from position 0 on, got 1 from 1");
  refused(
      {{.sequence = new_sequence(other, 4, false), .tokens = 1}},
      "made for another model");
  refused(
      {{.sequence = fresh(false), .tokens = 1, .donor = 1, .masks = masks},
       {.sequence = fresh(false), .tokens = 1}},
      "not to be patched");
  refused(
      {{.sequence = fresh(true), .tokens = 1, .donor = 1, .masks = masks},
       {.sequence = fresh(false), .tokens = 2}},
      "expected a plain donor with 1 tokens");
  refused(
      {{.sequence = fresh(true), .tokens = 1, .masks = masks}},
      "expected a donor, or constant source activations");
  refused(
      {{.sequence = fresh(true),
        .tokens = 1,
        .donor = 1,
        .masks = std::make_shared<StepMasks>(
            other, to_device(at::rand({other.n_masks()}, at::kDouble)))},
       {.sequence = fresh(false), .tokens = 1}},
      "for another model or graph");
  const auto twice = fresh(false);
  refused(
      {{.sequence = twice, .tokens = 1}, {.sequence = twice, .tokens = 1}},
      "is in a step already");
  Generation plain(model, {requests[0]});
  CHECK_THROWS(
      plain.step({kPrompt}, {"blocks.0.attn.hook_pattern"}),
      "blocks.0.attn.hook_pattern: expected a hook point");
  CHECK_THROWS(
      StepMasks(model, requests[1].masks.to(at::kFloat)),
      "expected mask values [n_masks]");
  Shape latents;
  latents.latents = 3;
  latents.positions = 5;
  CHECK_THROWS(
      new_sequence(model_of(latents, at::kDouble), 4, false),
      "latents that belong to positions");
}

} // namespace autocircuit::test
