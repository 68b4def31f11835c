#include "autocircuit/attribution/memory_plan.h"

#include <ATen/core/grad_mode.h>
#include <ATen/ops/empty.h>

#include <memory>
#include <unordered_set>
#include <utility>

#include "autocircuit/attribution/attribution_split.h"
#include "autocircuit/attribution/mask_training.h"
#include "autocircuit/attribution/point_gradient.h"
#include "autocircuit/attribution/rehearsed_model.h"
#include "autocircuit/engine/fully_patched_run.h"
#include "autocircuit/engine/incremental_run.h"
#include "autocircuit/engine/mask_plans.h"
#include "autocircuit/memory/workspace_pool.h"
#include "autocircuit/model/description.h"
#include "autocircuit/model/precision.h"

namespace autocircuit {

namespace {

bool is_micro(const Model& model) {
  return Description(model.description()).text("kind") == "micro";
}

int64_t bytes_of(const at::Tensor& x) {
  return x.numel() * static_cast<int64_t>(x.element_size());
}

// Of memory that some of them share, once.
int64_t bytes_of(const Weights& weights) {
  std::unordered_set<const void*> seen;
  int64_t bytes = 0;
  for (const at::Tensor& x : weights.tensors()) {
    if (seen.insert(x.storage().unsafeGetStorageImpl()).second) {
      bytes += bytes_of(x);
    }
  }
  return bytes;
}

/// The work of a request on a model without numbers.
class Rehearsed {
 public:
  Rehearsed(const PatchableModel& model, const MemoryRequest& request)
      : request_(request), model_(on_meta(model, request.type)) {
    const at::TensorOptions ids = of_type(at::kLong);
    std::vector<int64_t> shape{request.batch, request.seq};
    const at::TensorOptions options = model_->model().options();
    if (is_micro(model.model())) {
      shape.push_back(model.model().d_model());
      input_.value = at::empty(shape, options);
    } else {
      input_.value = at::empty(shape, ids);
    }
    input_.slice = request.slice;
    if (request.padded) {
      input_.attention_mask = at::empty({request.batch, request.seq}, ids);
    }
    for (const at::Tensor& masks : request.masks) {
      contexts_.push_back(
          {.patch_src_outs = {},
           .masks = at::empty(masks.sizes(), of_type(accumulation())),
           .transform = request.transform,
           .plans = std::make_shared<MaskPlans>(masks)});
    }
    if (request.work == Work::kAttribution) {
      split_ = split_within(*model_, attribution(), request.memory_limit);
    }
  }

  int64_t weights() const {
    return bytes_of(model_->model().weights());
  }

  int64_t given() const {
    int64_t bytes = 0;
    for (const PatchContext& context : contexts_) {
      bytes += bytes_of(context.masks);
    }
    return bytes;
  }

  void run() {
    const at::NoGradGuard no_grad;
    put_prefix();
    switch (request_.work) {
      case Work::kPlainPass:
        forward(*model_, pass(nullptr));
        return;
      case Work::kCircuits:
        return run_circuits();
      case Work::kGradient:
        return take_gradient();
      case Work::kAttribution:
        return attribute();
      case Work::kPoints:
        return attribute_at_point();
      case Work::kTraining:
        return train();
      case Work::kSearch:
        return search();
    }
    TORCH_CHECK(false, "unknown work ", static_cast<int64_t>(request_.work));
  }

 private:
  static at::TensorOptions of_type(at::ScalarType type) {
    return at::TensorOptions(at::kMeta).dtype(type);
  }

  at::ScalarType accumulation() const {
    return accumulation_type(request_.type);
  }

  void put_prefix() {
    const MemoryPartScope caches(MemoryPart::kCaches);
    input_.prefix = request_.prefix;
    for (std::vector<at::Tensor>* entries :
         {&input_.prefix.keys, &input_.prefix.values}) {
      for (at::Tensor& entry : *entries) {
        entry = at::empty(entry.sizes(), of_type(request_.type));
      }
    }
  }

  ForwardRequest pass(const PatchContext* context) const {
    ForwardRequest pass;
    pass.input = input_;
    pass.context = context;
    return pass;
  }

  /// Puts what edges are patched with into the contexts.
  void ablate() {
    TORCH_CHECK(!contexts_.empty(), "expected masks, got none");
    const auto cache = std::make_shared<FullyPatchedCache>();
    at::Tensor patch =
        source_ablations(*model_, input_, request_.ablation, cache.get());
    if (request_.of_data_set) {
      patch = patch.narrow(1, 0, 1).clone();
      patch = patch.expand({-1, request_.batch, -1, -1});
    }
    for (PatchContext& context : contexts_) {
      context.patch_src_outs = patch;
      context.fully_patched = cache;
    }
  }

  void run_circuits() {
    ablate();
    for (const PatchContext& context : contexts_) {
      forward(*model_, pass(&context));
    }
  }

  AnswerLoss loss() const {
    AnswerLoss loss = request_.loss;
    const std::vector<int64_t> shape{request_.batch, request_.answers};
    loss.answers = loss.answer_function == AnswerFunction::kMse
        ? at::empty(logits_shape(), of_type(request_.type))
        : at::empty(shape, of_type(at::kLong));
    loss.wrong_answers = at::empty(shape, of_type(at::kLong));
    return loss;
  }

  /// Of the last position: as the model itself says.
  std::vector<int64_t> logits_shape() const {
    ForwardRequest last = pass(nullptr);
    last.input.slice = OutputSlice::kLastSeq;
    return forward(*model_, last).logits.sizes().vec();
  }

  void take_gradient() {
    ablate();
    mask_gradient(*model_, input_, contexts_[0], loss());
  }

  void attribute() {
    edge_attribution(*model_, attribution(), split_);
  }

  EdgeAttribution attribution() const {
    EdgeAttribution attribution{
        .clean = input_,
        .corrupt = input_,
        .mask_value = request_.mask_value,
        .loss = loss(),
        .per_prompt = request_.per_prompt};
    attribution.clean.rules = request_.rules;
    return attribution;
  }

  void attribute_at_point() {
    const auto outputs = [&] {
      return source_ablations(*model_, input_, request_.ablation, nullptr);
    };
    const at::Tensor patch = outputs();
    const at::Tensor clean = outputs();
    const at::Tensor differences = [&] {
      const MemoryPartScope deltas(MemoryPart::kDeltas);
      return patch - clean;
    }();
    point_gradient(
        *model_,
        {.clean = input_,
         .differences = differences,
         .loss = loss(),
         .added = {},
         .per_prompt = request_.per_prompt});
  }

  void train() {
    ablate();
    TrainingStep step;
    step.input = input_;
    step.context = contexts_[0];
    step.target = request_.target;
    std::vector<int64_t> shape =
        forward(*model_, pass(nullptr)).logits.sizes().vec();
    shape.back() += request_.target == FaithfulnessTarget::kKlDiv ? 1 : 0;
    const at::Tensor full_model = [&] {
      const MemoryPartScope logits(MemoryPart::kLogits);
      return at::empty(shape, of_type(accumulation()));
    }();
    step.full_model = full_model;
    MaskTraining training(
        contexts_[0].masks, /*node_masks=*/{}, /*learning_rate=*/0.1);
    for (int i = 0; i < 2; i++) { // the optimiser has means from the first on
      training.step(*model_, step);
    }
  }

  void search() {
    ablate();
    PatchContext context = contexts_[0];
    context.fully_patched = nullptr; // as if prompts differed from the start
    const ForwardRequest request = pass(&context);
    IncrementalRun run(model_, request);
    const at::Tensor before = run.logits();
    // The first edge changes all that comes after it.
    const at::Tensor& masks = context.plans->masks();
    const double value = masks.flatten()[0].item<double>() == 0 ? 1 : 0;
    for (const bool again : {false, true}) {
      const at::Tensor after = run.with({0}, again ? 1 - value : value);
      run.commit();
    }
  }

  const MemoryRequest& request_;
  AttributionSplit split_{};
  std::shared_ptr<const PatchableModel> model_;
  ModelInput input_;
  std::vector<PatchContext> contexts_;
};

} // namespace

MemoryPlan memory_plan(
    const PatchableModel& model,
    const MemoryRequest& request) {
  Rehearsed work(model, request);
  const Rehearsal rehearsal(stands_for_cpu(model), workspace_limit());
  work.run();
  return {
      .weights = work.weights(),
      .given = work.given(),
      .run = rehearsal.most()};
}

} // namespace autocircuit
