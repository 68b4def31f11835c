// Tests what destinations read where all or most of their edges are patched:
// logits of circuits against float64, and inputs that depend on patches alone.
#include <ATen/core/grad_mode.h>

#include <cstdlib>
#include <map>
#include <optional>
#include <random>

#include "autocircuit/attribution/mask_gradient.h"
#include "autocircuit/engine/forward.h"
#include "autocircuit/engine/fully_patched.h"
#include "autocircuit/engine/fully_patched_run.h"
#include "autocircuit/engine/incremental_run.h"
#include "autocircuit/engine/plan.h"
#include "autocircuit/engine/source_ablations.h"
#include "autocircuit/memory/workspace_pool.h"
#include "devices.h"
#include "kinds.h"

#include "check.h"

namespace autocircuit::test {

namespace {

/// The arithmetic of patching, written out in float64: a destination reads the
/// constant, plus what its sources put out or are patched with.
class WrittenOut final : public Hooks {
 public:
  WrittenOut(
      const PatchableModel& model,
      const at::Tensor& patch,
      const at::Tensor& masks)
      : model_(model),
        patch_(patch),
        masks_(masks),
        outputs_(static_cast<size_t>(model.n_srcs())) {}

  at::Tensor visit(HookId hook, const at::Tensor& value) override {
    const PatchWrapper* w = model_.wrapper(hook);
    const at::Tensor x =
        w != nullptr && w->is_dest() ? input(*w, value).squeeze(2) : value;
    if (w != nullptr && w->is_src()) {
      outputs_[static_cast<size_t>(w->src_start)] = x;
    }
    return x;
  }

  HeadInputs head_inputs(
      c10::ArrayRef<HookId> modules,
      c10::ArrayRef<int64_t> /*heads*/,
      const at::Tensor& resid,
      const Norm* /*norm*/) override {
    if (model_.wrapper(modules[0]) == nullptr) {
      return {};
    }
    std::vector<at::Tensor> rows;
    for (const HookId module : modules) {
      rows.push_back(input(*model_.wrapper(module), resid));
    }
    return {.rows = at::cat(rows, 2)};
  }

  bool wants(HookId hook) const override {
    return model_.wrapper(hook) != nullptr;
  }

  at::Tensor head_outputs(
      HookId hook,
      const at::Tensor& z,
      const at::Tensor& weights) override {
    if (wants(hook)) {
      head_outputs(hook, at::einsum("bshk,hkd->bshd", {z, weights}));
    }
    return {};
  }

  void head_outputs(HookId hook, const at::Tensor& value) override {
    for (int64_t i = 0; wants(hook) && i < value.size(2); i++) {
      const int64_t source = model_.wrapper(hook)->src_start + i;
      outputs_[static_cast<size_t>(source)] = value.select(2, i);
    }
  }

 private:
  at::Tensor input(const PatchWrapper& w, const at::Tensor& resid) const {
    const at::Tensor masks = w.token_values(masks_, resid.size(1));
    at::Tensor x = resid; // then the constant, and so on
    for (int64_t s = w.in_start; s < w.in_stop; s++) {
      x = x - outputs_[static_cast<size_t>(s)];
    }
    x = x.unsqueeze(2);
    for (int64_t s = w.in_start; s < w.in_stop; s++) {
      const at::Tensor m = masks.select(3, s - w.in_start).unsqueeze(3);
      x = x + m * patch_[s].unsqueeze(2) +
          (1 - m) * outputs_[static_cast<size_t>(s)].unsqueeze(2);
    }
    return x;
  }

  const PatchableModel& model_;
  at::Tensor patch_;
  at::Tensor masks_;
  std::vector<at::Tensor> outputs_;
};

at::Tensor wide(const at::Tensor& x) {
  return x.to(at::kDouble);
}

/// The same model with the same weights in float64.
PatchableModel widened(const PatchableModel& model) {
  const Weights& weights = model.model().weights();
  std::vector<at::Tensor> tensors;
  for (const at::Tensor& tensor : weights.tensors()) {
    tensors.push_back(wide(tensor));
  }
  return {
      make_model(model.model().description(), {weights.names(), tensors}),
      model.wrappers()};
}

/// Masks of a circuit: 0 for its edges, a share of all, else 1.
at::Tensor circuit(std::vector<int64_t> shape, double share) {
  return to_device(at::rand(shape, at::kDouble).ge(share).to(at::kDouble));
}

struct Executor {
  const char* name;
  at::Tensor (*logits)(const PatchableModel&, const ForwardRequest&);
};

at::Tensor with_policy(
    const PatchableModel& model,
    ForwardRequest request,
    PlanPolicy policy) {
  const WorkspaceScope workspace;
  request.policy = policy;
  return forward(model, request).logits;
}

at::Tensor from_fully_patched_run(
    const PatchableModel& model,
    ForwardRequest request,
    PlanPolicy policy) {
  PatchContext context = *request.context;
  context.fully_patched = std::make_shared<FullyPatchedCache>();
  request.context = &context;
  return with_policy(model, request, policy);
}

at::Tensor recorded(
    const PatchableModel& model,
    const ForwardRequest& request) {
  const at::AutoGradMode record(true);
  PatchContext context = *request.context;
  context.masks = context.masks.detach().requires_grad_();
  ForwardRequest own = request;
  own.context = &context;
  return with_policy(model, own, PlanPolicy::kAuto).detach();
}

/// By a search that comes to the circuit in several steps, from where all edges
/// are in it, or none; undefined for masks that it does not take.
at::Tensor by_search(
    const PatchableModel& model,
    ForwardRequest request,
    double from) {
  const at::Tensor masks = request.context->masks;
  if (masks.dim() != 1) {
    return {};
  }
  PatchContext context = *request.context;
  context.masks = at::full_like(masks, from);
  request.context = &context;
  IncrementalRun run(std::make_shared<PatchableModel>(model), request);
  std::vector<std::vector<int64_t>> steps(5);
  for (int64_t place = masks.numel(); place-- > 0;) { // from the end on
    if (masks[place].item<double>() != from) {
      steps[static_cast<size_t>(
                (masks.numel() - 1 - place) * 5 / masks.numel())]
          .push_back(place);
    }
  }
  at::Tensor logits = run.logits();
  for (const std::vector<int64_t>& step : steps) {
    logits = run.with(step, 1 - from);
    run.commit();
  }
  return logits;
}

const Executor kExecutors[] = {
    {"reference",
     [](const auto& m, const auto& r) {
       return with_policy(m, r, PlanPolicy::kReference);
     }},
    {"dense",
     [](const auto& m, const auto& r) {
       return with_policy(m, r, PlanPolicy::kBuffered);
     }},
    {"with gradients", recorded},
    {"planned",
     [](const auto& m, const auto& r) {
       return with_policy(m, r, PlanPolicy::kAuto);
     }},
    {"planned, cheaper",
     [](const auto& m, const auto& r) {
       return from_fully_patched_run(m, r, PlanPolicy::kAuto);
     }},
    {"from the fully patched run",
     [](const auto& m, const auto& r) {
       return from_fully_patched_run(m, r, PlanPolicy::kFullyPatched);
     }},
    {"search from all",
     [](const auto& m, const auto& r) { return by_search(m, r, 0); }},
    {"search from none",
     [](const auto& m, const auto& r) { return by_search(m, r, 1); }}};

const BatchAblation kAblations[] = {
    BatchAblation::kZero,
    BatchAblation::kBatchTokenwiseMean,
    BatchAblation::kBatchAllTokMean,
    BatchAblation::kResample};

/// The worst errors, by type and executor.
class Worst {
 public:
  void note(at::ScalarType type, const std::string& executor, double error) {
    double& worst = errors_[{type, executor}];
    worst = std::max(worst, error);
  }

  /// For the documents: AUTOCIRCUIT_PRINT_ERRORS=1.
  void print(const char* title) const {
    if (std::getenv("AUTOCIRCUIT_PRINT_ERRORS") == nullptr) {
      return;
    }
    std::printf("%s\n", title);
    for (const auto& [key, worst] : errors_) {
      std::printf(
          "  %-9s %-28s %.2g\n",
          c10::toString(key.first),
          key.second.c_str(),
          worst);
    }
  }

  void check(const std::map<at::ScalarType, double>& limits) const {
    for (const auto& [key, worst] : errors_) {
      if (!(worst <= limits.at(key.first))) {
        fail(
            __FILE__,
            __LINE__,
            c10::toString(key.first),
            ", ",
            key.second,
            ": logits differ from float64 by up to ",
            worst);
      }
    }
  }

 private:
  std::map<std::pair<at::ScalarType, std::string>, double> errors_;
};

const at::ScalarType kTypes[] = {
    at::kDouble,
    at::kFloat,
    at::kBFloat16,
    at::kHalf};

/// In float64, of the rounding of what they are held against, too.
const std::map<at::ScalarType, double> kLimits = {
    {at::kDouble, 1e-8},
    {at::kFloat, 1e-4},
    {at::kBFloat16, 0.5},
    {at::kHalf, 0.1}};

/// Greatest difference of logits, in units of their size where that is over 1.
double error(const at::Tensor& actual, const at::Tensor& expected) {
  const double scale = std::max(1.0, expected.abs().max().item<double>());
  return (wide(actual) - expected).abs().max().item<double>() / scale;
}

/// All executors with some masks against float64.
void compare(
    const Kind& kind,
    const PatchableModel& judge,
    const PatchContext& context,
    at::ScalarType type,
    Worst& worst) {
  const at::NoGradGuard no_grad;
  WrittenOut written(judge, wide(context.patch_src_outs), wide(context.masks));
  const at::Tensor expected =
      judge.model().forward({.value = kind.clean}, written);
  ForwardRequest request;
  request.input.value = kind.clean;
  request.context = &context;
  for (const Executor& executor : kExecutors) {
    const at::Tensor logits = executor.logits(kind.model, request);
    if (logits.defined()) {
      worst.note(type, executor.name, error(logits, expected));
    }
  }
}

PatchContext ablated(const Kind& kind, BatchAblation ablation) {
  PatchContext context = kind.context;
  context.patch_src_outs =
      source_ablations(kind.model, {.value = kind.corrupt}, ablation);
  return context;
}

at::Tensor circuit(const Kind& kind, std::vector<int64_t> sets, double share) {
  sets.push_back(kind.model.n_masks());
  return circuit(std::move(sets), share).to(kind.context.masks.scalar_type());
}

/// Every hook point at which a model has destinations.
std::vector<std::string> destinations(const PatchableModel& model) {
  std::vector<std::string> modules;
  for (const PatchWrapper& w : model.wrappers()) {
    if (w.is_dest()) {
      modules.push_back(w.module);
    }
  }
  return modules;
}

const PatchWrapper& wrapper_at(
    const PatchableModel& model,
    const std::string& module) {
  return *model.wrapper(model.model().hook_id(module));
}

} // namespace

TEST(circuits_of_every_size_agree_with_float64) {
  at::manual_seed(11);
  Worst worst;
  for_each_kind([&](const Shape& shape) {
    for (const at::ScalarType type : kTypes) {
      const Kind kind(shape, 0, type);
      const PatchableModel judge = widened(kind.model);
      for (const BatchAblation ablation : kAblations) {
        PatchContext context = ablated(kind, ablation);
        for (const double share : {0.05, 0.4, 0.95}) {
          context.masks = circuit(kind, {}, share);
          compare(kind, judge, context, type, worst);
        }
      }
    }
  });
  worst.print("circuits of 5 to 95 %");
  worst.check(kLimits);
}

TEST(circuits_of_examples_and_positions_agree_with_float64) {
  at::manual_seed(12);
  Worst worst;
  for_each_kind([&](const Shape& shape) {
    for (const at::ScalarType type : kTypes) {
      for (const int64_t seq_len : {0, 5}) {
        const Kind kind(shape, seq_len, type);
        const PatchableModel judge = widened(kind.model);
        for (const BatchAblation ablation :
             {BatchAblation::kZero, BatchAblation::kBatchAllTokMean}) {
          PatchContext context = ablated(kind, ablation);
          context.masks = at::stack(
              {circuit(kind, {}, 0.05),
               circuit(kind, {}, 0.4),
               circuit(kind, {}, 0.95)});
          compare(kind, judge, context, type, worst);
          if (seq_len > 0) {
            context.masks = circuit(kind, {}, 0.3);
            compare(kind, judge, context, type, worst);
          }
        }
      }
    }
  });
  worst.print("circuits of single examples and positions");
  worst.check(kLimits);
}

TEST(where_all_is_patched_logits_depend_on_the_patches_alone) {
  at::manual_seed(13);
  for_each_kind([&](const Shape& shape) {
    for (const at::ScalarType type : {at::kFloat, at::kBFloat16}) {
      for (const int64_t seq_len : {0, 5}) {
        const Kind kind(shape, seq_len, type);
        for (const BatchAblation ablation :
             {BatchAblation::kZero, BatchAblation::kResample}) {
          PatchContext context = ablated(kind, ablation);
          const at::Tensor ones = at::ones_like(kind.context.masks);
          // Alone, and beside others, whose tokens stay the same.
          const at::Tensor stack =
              at::stack({ones, circuit(kind, {}, 0.3), circuit(kind, {}, 0.6)});
          for (const at::Tensor& masks : {ones, stack}) {
            context.masks = masks;
            ForwardRequest request;
            request.context = &context;
            request.input.value = kind.clean;
            ForwardRequest other = request;
            other.input.value = kind.clean.clone();
            other.input.value[0] = (kind.clean[0] + 3) % shape.d_vocab;
            const at::NoGradGuard no_grad;
            for (const Executor& executor : kExecutors) {
              const at::Tensor logits = executor.logits(kind.model, request);
              if (logits.defined() &&
                  !executor.logits(kind.model, other).equal(logits)) {
                fail(__FILE__, __LINE__, type, ", ", executor.name);
              }
            }
          }
        }
      }
    }
  });
}

TEST(fully_patched_inputs_are_the_constant_plus_the_patches_in_order) {
  for_each_kind([&](const Shape& shape) {
    for (const at::ScalarType type : kTypes) {
      const at::NoGradGuard no_grad;
      const Kind kind(shape, 0, type);
      const std::vector<std::string> modules = destinations(kind.model);
      for (const BatchAblation ablation : kAblations) {
        PatchContext context = ablated(kind, ablation);
        context.masks = at::ones_like(kind.context.masks);
        ForwardRequest request;
        request.input.value = kind.clean;
        request.context = &context;
        request.reads = modules;
        const std::vector<at::Tensor> reads =
            forward(kind.model, request).reads;
        std::vector<at::Tensor> inputs; // of searches
        if (has_plans(kind.model)) {
          inputs = fully_patched_inputs(kind.model, context.patch_src_outs);
        }
        for (size_t i = 0; i < modules.size(); i++) {
          const PatchWrapper& w = wrapper_at(kind.model, modules[i]);
          at::Tensor sum =
              context.patch_src_outs[0].to(context.masks.scalar_type());
          for (int64_t s = 1; s < w.in_stop; s++) {
            sum = sum + context.patch_src_outs[s];
          }
          const at::Tensor constant = kind.model.constant(w);
          const at::Tensor expected = constant.defined() ? constant + sum : sum;
          const HookId hook = kind.model.model().hook_id(modules[i]);
          CHECK(
              inputs.empty() ||
              inputs[static_cast<size_t>(hook)].equal(expected));
          const at::Tensor read =
              w.rows > 0 ? reads[i].select(2, w.rows - 1) : reads[i];
          CHECK(read.equal(expected.to(read.scalar_type())));
        }
      }
    }
  });
}

TEST(constants_are_what_the_stream_has_beside_its_sources) {
  for_each_kind([&](const Shape& shape) {
    const at::NoGradGuard no_grad;
    const Kind kind(shape);
    ForwardRequest request;
    request.input.value = kind.clean;
    request.want_src_outs = true;
    request.reads = destinations(kind.model);
    const ForwardResult plain = forward(kind.model, request);
    for (size_t i = 0; i < request.reads.size(); i++) {
      const PatchWrapper& w = wrapper_at(kind.model, request.reads[i]);
      const at::Tensor read =
          w.rows > 0 ? plain.reads[i].select(2, 0) : plain.reads[i];
      const at::Tensor rest =
          read - plain.src_outs.narrow(0, 0, w.in_stop).sum(0);
      const at::Tensor constant = kind.model.constant(w);
      CHECK_CLOSE(
          rest,
          constant.defined() ? constant.expand_as(rest) : at::zeros_like(rest),
          0,
          1e-11);
    }
  });
}

TEST(gradients_where_all_is_patched_are_finite_differences) {
  std::mt19937 random(5);
  AnswerLoss loss;
  loss.answers = to_device(at::tensor({1, 2, 3}, at::kLong).view({3, 1}));
  loss.wrong_answers = to_device(at::tensor({4, 5, 6}, at::kLong).view({3, 1}));
  for_each_kind([&](const Shape& shape) {
    const Kind kind(shape);
    for (const BatchAblation ablation :
         {BatchAblation::kZero, BatchAblation::kResample}) {
      PatchContext context = ablated(kind, ablation);
      const auto gradient = [&](const at::Tensor& masks, PlanPolicy policy) {
        context.masks = masks;
        return mask_gradient(
            kind.model, {.value = kind.clean}, context, loss, policy);
      };
      const at::Tensor ones = at::ones_like(kind.context.masks);
      for (const PlanPolicy policy :
           {PlanPolicy::kReference, PlanPolicy::kAuto}) {
        const at::Tensor grad = gradient(ones, policy).grad;
        const double most = std::max(1.0, grad.abs().max().item<double>());
        for (int i = 0; i < 8; i++) {
          const auto place = static_cast<int64_t>(
              random() % static_cast<unsigned>(ones.numel()));
          const auto loss_at = [&](double value) {
            at::Tensor masks = ones.clone();
            masks[place] = value;
            return gradient(masks, policy).loss.item<double>();
          };
          constexpr double kStep = 1e-5;
          CHECK_CLOSE(
              grad[place].item<double>(),
              (loss_at(1 + kStep) - loss_at(1 - kStep)) / (2 * kStep),
              0,
              1e-6 * most);
        }
      }
    }
  });
}

} // namespace autocircuit::test
