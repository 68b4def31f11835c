#include "autocircuit/bridge/bridge.h"

#include <ATen/core/grad_mode.h>
#include <ATen/ops/tensor.h>
#include <ATen/ops/zeros.h>
#include <torch/csrc/autograd/autograd.h>

#include <algorithm>
#include <memory>
#include <utility>

#include "autocircuit/attribution/attribution_split.h"
#include "autocircuit/attribution/mask_training.h"
#include "autocircuit/attribution/memory_plan.h"
#include "autocircuit/attribution/pattern_effects.h"
#include "autocircuit/attribution/point_gradient.h"
#include "autocircuit/bridge/errors.h"
#include "autocircuit/bridge/handles.h"
#include "autocircuit/engine/forward.h"
#include "autocircuit/engine/fully_patched_run.h"
#include "autocircuit/engine/incremental_run.h"
#include "autocircuit/engine/mask_plans.h"
#include "autocircuit/engine/source_ablations.h"
#include "autocircuit/memory/workspace_pool.h"
#include "autocircuit/model/model.h"
#include "autocircuit/model/tensor_file.h"
#include "autocircuit/patch/patch_wrapper.h"

namespace autocircuit::bridge {

namespace {

std::vector<PatchWrapper> unpack_wrappers(
    const std::string& modules,
    at::ArrayRef<int64_t> numbers,
    int64_t seq_len) {
  const std::vector<std::string> names = split_lines(modules);
  TORCH_CHECK(
      numbers.size() == names.size() * 6,
      "expected six numbers for each of ",
      names.size(),
      " wrappers, got ",
      numbers.size());
  std::vector<PatchWrapper> wrappers;
  for (size_t i = 0; i < names.size(); i++) {
    const auto n = numbers.slice(i * 6, 6);
    PatchWrapper w;
    w.module = names[i];
    w.src_start = n[0];
    w.src_stop = n[1];
    w.in_start = n[2];
    w.in_stop = n[3];
    w.rows = n[4];
    w.mask_offset = n[5];
    w.seq_len = seq_len;
    wrappers.push_back(std::move(w));
  }
  return wrappers;
}

AnswerLoss loss_on_answers(
    int64_t grad_function,
    int64_t answer_function,
    const at::Tensor& answers,
    const at::Tensor& wrong_answers) {
  return {
      .grad_function = static_cast<GradFunction>(grad_function),
      .answer_function = static_cast<AnswerFunction>(answer_function),
      .answers = answers,
      .wrong_answers = wrong_answers};
}

ModelInput model_input(const Tensors& tensors) {
  TORCH_CHECK(
      tensors.size() >= 2 && tensors.size() % 2 == 0,
      "expected a value, an attention mask, and keys and values of a prefix, "
      "got ",
      tensors.size(),
      " tensors");
  ModelInput input{.value = tensors[0], .attention_mask = tensors[1]};
  for (size_t i = 2; i < tensors.size(); i += 2) {
    input.prefix.keys.push_back(tensors[i]);
    input.prefix.values.push_back(tensors[i + 1]);
  }
  return input;
}

/// The same, of the residual stream that enters a block; -1: of the model's
/// input.
ModelInput model_input(const Tensors& tensors, int64_t start_block) {
  ModelInput input = model_input(tensors);
  input.is_resid = start_block >= 0;
  input.start_block = std::max<int64_t>(start_block, 0);
  return input;
}

/// values: [3] doubles on the CPU.
Constraint constraint(const at::Tensor& values) {
  return {
      .linear = values[0].item<double>(),
      .quadratic = values[1].item<double>(),
      .target = values[2].item<double>()};
}

} // namespace

Tensors read_tensors(
    const std::string& path,
    const int64_t* layout,
    int64_t layout_size,
    int64_t dtype,
    const std::string& device) {
  return translating_errors([&] {
    return autocircuit::read_tensors(
        path,
        stored_tensors(path, {layout, static_cast<size_t>(layout_size)}),
        static_cast<at::ScalarType>(dtype),
        at::Device(device));
  });
}

int64_t new_model(
    const std::string& description,
    const std::string& names,
    const Tensors& weights) {
  return translating_errors([&] {
    return to_handle(
        make_model(description, Weights(split_lines(names), weights)));
  });
}

std::string weight_shapes(const std::string& description) {
  return translating_errors([&] {
    std::vector<std::string> lines;
    for (const WeightShape& weight : autocircuit::weight_shapes(description)) {
      lines.push_back(weight.name);
      for (const int64_t size : weight.sizes) {
        lines.back() += ' ' + std::to_string(size);
      }
    }
    return join_lines(lines);
  });
}

void release_model(int64_t model) {
  release_handle<const Model>(model);
}

int64_t model_to(int64_t model, const std::string& device) {
  return translating_errors([&] {
    const auto from = from_handle<const Model>(model);
    return to_handle(make_model(
        from->description(), from->weights().to(at::Device(device))));
  });
}

Tensors model_weights(int64_t model) {
  return translating_errors(
      [&] { return from_handle<const Model>(model)->weights().tensors(); });
}

std::string model_weight_names(int64_t model) {
  return translating_errors([&] {
    return join_lines(from_handle<const Model>(model)->weights().names());
  });
}

std::string model_hook_names(int64_t model) {
  return translating_errors([&] {
    return join_lines(from_handle<const Model>(model)->hook_names());
  });
}

int64_t make_model_patchable(
    int64_t model,
    const std::string& modules,
    const int64_t* wrappers,
    int64_t wrappers_size,
    int64_t seq_len) {
  return translating_errors([&] {
    return to_handle<const PatchableModel>(
        std::make_shared<const PatchableModel>(
            from_handle<const Model>(model),
            unpack_wrappers(
                modules,
                {wrappers, static_cast<size_t>(wrappers_size)},
                seq_len)));
  });
}

void release_patchable_model(int64_t model) {
  release_handle<const PatchableModel>(model);
}

int64_t new_fully_patched_cache() {
  return translating_errors(
      [] { return to_handle(std::make_shared<FullyPatchedCache>()); });
}

void clear_fully_patched_cache(int64_t cache) {
  translating_errors([&] { from_handle<FullyPatchedCache>(cache)->clear(); });
}

void release_fully_patched_cache(int64_t cache) {
  release_handle<FullyPatchedCache>(cache);
}

int64_t new_mask_plans(const at::Tensor& masks) {
  return translating_errors(
      [&] { return to_handle(std::make_shared<MaskPlans>(masks)); });
}

at::Tensor mask_plans_tensor(int64_t plans) {
  return translating_errors(
      [&] { return from_handle<MaskPlans>(plans)->masks(); });
}

void release_mask_plans(int64_t plans) {
  release_handle<MaskPlans>(plans);
}

Tensors forward(
    int64_t model,
    const Tensors& input,
    int64_t start_block,
    const at::Tensor& start_src_outs,
    int64_t output_slice,
    bool grad,
    bool want_src_outs,
    bool patched,
    const at::Tensor& patch_src_outs,
    int64_t fully_patched,
    const at::Tensor& masks,
    int64_t plans,
    int64_t mask_fn,
    double dropout,
    int64_t seed,
    int64_t step,
    const at::Tensor& uniforms,
    const std::string& reads,
    int64_t policy,
    const std::string& added_at,
    const Tensors& added) {
  return translating_errors([&] {
    const at::AutoGradMode grad_mode(grad);
    const auto patchable = from_handle<const PatchableModel>(model);
    const PatchContext context{
        .patch_src_outs = patch_src_outs,
        .masks = masks,
        .transform = mask_transform(mask_fn, dropout, seed, step, uniforms),
        .uniform = std::nullopt,
        .fully_patched = from_optional_handle<FullyPatchedCache>(fully_patched),
        .plans = from_optional_handle<MaskPlans>(plans)};
    ForwardRequest request;
    request.input = model_input(input, start_block);
    request.input.slice = static_cast<OutputSlice>(output_slice);
    request.context = patched ? &context : nullptr;
    request.start_src_outs = start_src_outs;
    request.want_src_outs = want_src_outs;
    request.reads = split_lines(reads);
    request.policy = static_cast<PlanPolicy>(policy);
    request.added = additions(added_at, added);
    const WorkspaceScope workspace;
    const PassThreads threads(patchable->model(), request.input);
    ForwardResult result = autocircuit::forward(*patchable, request);
    Tensors tensors{std::move(result.logits)};
    if (want_src_outs) {
      tensors.push_back(std::move(result.src_outs));
    }
    for (at::Tensor& read : result.reads) {
      tensors.push_back(std::move(read));
    }
    return tensors;
  });
}

int64_t new_incremental_run(
    int64_t model,
    const Tensors& input,
    int64_t output_slice,
    const at::Tensor& patch_src_outs,
    int64_t fully_patched,
    const at::Tensor& masks) {
  return translating_errors([&] {
    const at::NoGradGuard no_grad;
    const PatchContext context{
        .patch_src_outs = patch_src_outs,
        .masks = masks,
        .transform = {},
        .fully_patched =
            from_optional_handle<FullyPatchedCache>(fully_patched)};
    ForwardRequest request;
    request.input = model_input(input);
    request.input.slice = static_cast<OutputSlice>(output_slice);
    request.context = &context;
    auto patchable = from_handle<const PatchableModel>(model);
    const WorkspaceScope workspace;
    const PassThreads threads(patchable->model(), request.input);
    return to_handle(
        std::make_shared<IncrementalRun>(std::move(patchable), request));
  });
}

void release_incremental_run(int64_t run) {
  release_handle<IncrementalRun>(run);
}

at::Tensor incremental_logits(
    int64_t run,
    const int64_t* places,
    int64_t places_size,
    double value) {
  return translating_errors([&] {
    const std::shared_ptr<IncrementalRun> baseline =
        from_handle<IncrementalRun>(run);
    const WorkspaceScope workspace;
    const PassThreads threads(baseline->model().model(), baseline->input());
    return places_size < 0
        ? baseline->logits()
        : baseline->with({places, places + places_size}, value);
  });
}

void commit_incremental(int64_t run) {
  translating_errors([&] {
    const auto baseline = from_handle<IncrementalRun>(run);
    const WorkspaceScope workspace;
    const PassThreads threads(baseline->model().model(), baseline->input());
    baseline->commit();
  });
}

at::Tensor source_ablations(
    int64_t model,
    const Tensors& input,
    int64_t ablation_type,
    int64_t fully_patched) {
  return translating_errors([&] {
    const at::NoGradGuard no_grad;
    const WorkspaceScope workspace;
    const auto patchable = from_handle<const PatchableModel>(model);
    const ModelInput ablated = model_input(input);
    const PassThreads threads(patchable->model(), ablated);
    return autocircuit::source_ablations(
        *patchable,
        ablated,
        static_cast<BatchAblation>(ablation_type),
        from_optional_handle<FullyPatchedCache>(fully_patched).get());
  });
}

Tensors mask_gradient(
    int64_t model,
    const Tensors& input,
    const at::Tensor& patch_src_outs,
    const at::Tensor& masks,
    int64_t mask_fn,
    double dropout,
    int64_t seed,
    int64_t step,
    const at::Tensor& uniforms,
    int64_t grad_function,
    int64_t answer_function,
    const at::Tensor& answers,
    const at::Tensor& wrong_answers) {
  return translating_errors([&] {
    const WorkspaceScope workspace;
    const auto patchable = from_handle<const PatchableModel>(model);
    const ModelInput clean = model_input(input);
    const PassThreads threads(patchable->model(), clean);
    const MaskGradient result = autocircuit::mask_gradient(
        *patchable,
        clean,
        {.patch_src_outs = patch_src_outs,
         .masks = masks,
         .transform = mask_transform(mask_fn, dropout, seed, step, uniforms)},
        loss_on_answers(
            grad_function, answer_function, answers, wrong_answers));
    return Tensors{result.grad, result.loss, result.logits};
  });
}

Tensors edge_attribution(
    int64_t model,
    const Tensors& clean,
    const Tensors& corrupt,
    const at::Tensor& patch_src_outs,
    double mask_value,
    int64_t grad_function,
    int64_t answer_function,
    const at::Tensor& answers,
    const at::Tensor& wrong_answers,
    int64_t memory_limit,
    bool per_prompt,
    bool frozen_norms,
    double softmax_temperature,
    double queries_and_keys,
    double values,
    double gated_mlps,
    bool want_differences) {
  return translating_errors([&] {
    const WorkspaceScope workspace;
    const auto patchable = from_handle<const PatchableModel>(model);
    EdgeAttribution request{
        .clean = model_input(clean),
        .patch_src_outs = patch_src_outs,
        .mask_value = mask_value,
        .loss = loss_on_answers(
            grad_function, answer_function, answers, wrong_answers),
        .per_prompt = per_prompt,
        .want_differences = want_differences};
    request.clean.rules = {
        .frozen_norms = frozen_norms,
        .softmax_temperature = softmax_temperature,
        .queries_and_keys = queries_and_keys,
        .values = values,
        .gated_mlps = gated_mlps};
    if (!corrupt.empty()) {
      request.corrupt = model_input(corrupt);
    }
    const PassThreads threads(patchable->model(), request.clean);
    const MaskGradient result = autocircuit::edge_attribution(
        *patchable, request, split_within(*patchable, request, memory_limit));
    Tensors results{result.grad, result.loss, result.logits};
    if (want_differences) {
      results.push_back(result.differences);
    }
    return results;
  });
}

Tensors point_gradient(
    int64_t model,
    const Tensors& clean,
    int64_t start_block,
    const at::Tensor& differences,
    int64_t src_start,
    int64_t src_stop,
    const std::string& added_at,
    const Tensors& added,
    int64_t grad_function,
    int64_t answer_function,
    const at::Tensor& answers,
    const at::Tensor& wrong_answers,
    bool per_prompt) {
  return translating_errors([&] {
    const WorkspaceScope workspace;
    const auto patchable = from_handle<const PatchableModel>(model);
    const PointAttribution request{
        .clean = model_input(clean, start_block),
        .differences = differences,
        .loss = loss_on_answers(
            grad_function, answer_function, answers, wrong_answers),
        .added = additions(added_at, added),
        .src_start = src_start,
        .src_stop = src_stop,
        .per_prompt = per_prompt};
    const PassThreads threads(patchable->model(), request.clean);
    const MaskGradient result =
        autocircuit::point_gradient(*patchable, request);
    return Tensors{result.grad, result.loss, result.logits};
  });
}

at::Tensor pattern_effects(
    int64_t model,
    const Tensors& stream,
    int64_t block,
    const at::Tensor& differences,
    bool of_keys,
    int64_t position,
    const at::Tensor& pattern,
    const at::Tensor& gradient) {
  return translating_errors([&] {
    const WorkspaceScope workspace;
    const auto patchable = from_handle<const PatchableModel>(model);
    const PatternEffects request{
        .stream = model_input(stream, block),
        .differences = differences,
        .of_keys = of_keys,
        .position = position,
        .pattern = pattern,
        .gradient = gradient};
    const PassThreads threads(patchable->model(), request.stream);
    return autocircuit::pattern_effects(*patchable, request);
  });
}

at::Tensor answer_loss(
    const at::Tensor& logits,
    int64_t grad_function,
    int64_t answer_function,
    const at::Tensor& answers,
    const at::Tensor& wrong_answers) {
  return translating_errors([&] {
    return autocircuit::answer_loss(
        logits,
        static_cast<GradFunction>(grad_function),
        static_cast<AnswerFunction>(answer_function),
        answers,
        wrong_answers);
  });
}

at::Tensor divergence(
    int64_t target,
    const at::Tensor& logits,
    const at::Tensor& full_model,
    const at::Tensor& attention_mask) {
  return translating_errors([&] {
    return autocircuit::divergence(
        static_cast<FaithfulnessTarget>(target),
        logits,
        full_model,
        attention_mask);
  });
}

int64_t new_mask_training(
    const at::Tensor& masks,
    const at::Tensor& node_masks,
    double learning_rate) {
  return translating_errors([&] {
    return to_handle(
        std::make_shared<MaskTraining>(masks, node_masks, learning_rate));
  });
}

void release_mask_training(int64_t training) {
  release_handle<MaskTraining>(training);
}

void step_masks_along(int64_t training, const at::Tensor& gradients) {
  translating_errors(
      [&] { from_handle<MaskTraining>(training)->step_along(gradients); });
}

at::Tensor mask_training_state(int64_t training) {
  return translating_errors(
      [&] { return from_handle<MaskTraining>(training)->state(); });
}

void restore_mask_training(
    int64_t training,
    const at::Tensor& state,
    int64_t steps) {
  translating_errors(
      [&] { from_handle<MaskTraining>(training)->restore(state, steps); });
}

at::Tensor train_masks(
    int64_t training,
    int64_t model,
    const Tensors& input,
    int64_t output_slice,
    const at::Tensor& patch_src_outs,
    int64_t mask_fn,
    double dropout,
    int64_t seed,
    int64_t step,
    int64_t count_seed,
    int64_t count_step,
    int64_t target,
    const at::Tensor& full_model,
    bool circuit_is_patched,
    int64_t circuit_size,
    double edge_weight,
    const at::Tensor& constraints) {
  return translating_errors([&] {
    const WorkspaceScope workspace;
    const auto patchable = from_handle<const PatchableModel>(model);
    TrainingStep request;
    request.input = model_input(input);
    request.input.slice = static_cast<OutputSlice>(output_slice);
    request.context.patch_src_outs = patch_src_outs;
    request.context.transform =
        mask_transform(mask_fn, dropout, seed, step, at::Tensor());
    request.target = static_cast<FaithfulnessTarget>(target);
    request.full_model = full_model;
    request.count.seed = count_seed;
    request.count.step = count_step;
    request.circuit_is_patched = circuit_is_patched;
    if (circuit_size >= 0) {
      request.circuit_size = static_cast<double>(circuit_size);
    }
    request.edge_weight = edge_weight;
    if (constraints.defined()) {
      request.edge_sparsity = constraint(constraints[0]);
      request.node_sparsity = constraint(constraints[-1]);
    }
    const PassThreads threads(patchable->model(), request.input);
    const TrainingLosses losses =
        from_handle<MaskTraining>(training)->step(*patchable, request);
    return at::tensor(
        {losses.total,
         losses.faithfulness,
         losses.edges,
         static_cast<double>(losses.not_finite),
         losses.nodes},
        at::kDouble);
  });
}

at::Tensor plan_memory(
    int64_t model,
    const int64_t* sizes,
    int64_t sizes_size,
    const double* factors,
    int64_t factors_size,
    const Tensors& masks,
    const Tensors& prefix) {
  return translating_errors([&] {
    TORCH_CHECK(
        sizes_size == 15 && factors_size == 6,
        "expected 15 sizes and 6 factors, got ",
        sizes_size,
        " and ",
        factors_size);
    const auto patchable = from_handle<const PatchableModel>(model);
    MemoryRequest request{
        .work = static_cast<Work>(sizes[0]),
        .batch = sizes[1],
        .seq = sizes[2],
        .slice = static_cast<OutputSlice>(sizes[3]),
        .type = static_cast<at::ScalarType>(sizes[4]),
        .padded = sizes[5] != 0,
        .masks = masks,
        .transform =
            {.fn = static_cast<MaskFn>(sizes[6]),
             .dropout = factors[0],
             .noise = {}},
        .of_data_set = sizes[7] == 4,
        .answers = sizes[10],
        .mask_value = factors[1],
        .memory_limit = sizes[11],
        .per_prompt = sizes[12] != 0,
        .rules =
            {.frozen_norms = sizes[13] != 0,
             .softmax_temperature = factors[2],
             .queries_and_keys = factors[3],
             .values = factors[4],
             .gated_mlps = factors[5]},
        .target = static_cast<FaithfulnessTarget>(sizes[14])};
    if (!request.of_data_set) {
      request.ablation = static_cast<BatchAblation>(sizes[7]);
    }
    request.loss.grad_function = static_cast<GradFunction>(sizes[8]);
    request.loss.answer_function = static_cast<AnswerFunction>(sizes[9]);
    for (size_t i = 0; i + 1 < prefix.size(); i += 2) {
      request.prefix.keys.push_back(prefix[i]);
      request.prefix.values.push_back(prefix[i + 1]);
    }
    const MemoryPlan plan = memory_plan(*patchable, request);
    const auto part = [&](MemoryPart p) {
      return plan.run.parts[static_cast<size_t>(p)];
    };
    return at::tensor(
        {plan.weights,
         plan.given + part(MemoryPart::kMasks),
         part(MemoryPart::kActivations),
         part(MemoryPart::kDeltas),
         part(MemoryPart::kLogits),
         part(MemoryPart::kGradients),
         part(MemoryPart::kCaches),
         plan.run.small,
         plan.run.idle},
        at::kLong);
  });
}

at::Tensor interpolate(
    const at::Tensor& arg0,
    const at::Tensor& src_acts,
    const at::Tensor& curr_src_outs,
    const at::Tensor& mask,
    bool has_rows,
    bool has_seq,
    int64_t mask_fn,
    double dropout,
    int64_t seed,
    int64_t step,
    const at::Tensor& uniforms) {
  return translating_errors([&] {
    const at::AutoGradMode grad_mode(true);
    return autocircuit::interpolate(
        arg0,
        src_acts,
        curr_src_outs,
        mask,
        has_rows,
        has_seq,
        mask_transform(mask_fn, dropout, seed, step, uniforms));
  });
}

void record_source(
    const at::Tensor& output,
    at::Tensor& curr_src_outs,
    int64_t src_start) {
  translating_errors([&] {
    const at::AutoGradMode grad_mode(true);
    autocircuit::record_source(output, curr_src_outs, src_start);
  });
}

at::Tensor apply_mask_fn(
    const at::Tensor& masks,
    bool batched,
    int64_t batch,
    int64_t mask_fn,
    double dropout,
    int64_t seed,
    int64_t step,
    const at::Tensor& uniforms) {
  return translating_errors([&] {
    const at::AutoGradMode grad_mode(true);
    return mask_values(
        masks,
        batched,
        batch,
        mask_transform(mask_fn, dropout, seed, step, uniforms));
  });
}

void backward(const at::Tensor& loss) {
  translating_errors([&] {
    const WorkspaceScope workspace;
    const PassThreads threads;
    torch::autograd::backward({loss}, {});
  });
}

} // namespace autocircuit::bridge
