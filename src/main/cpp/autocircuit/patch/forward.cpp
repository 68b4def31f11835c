#include <ATen/ops/bmm.h>
#include <ATen/ops/cat.h>
#include <ATen/ops/empty.h>

#include <optional>
#include <utility>

#include "autocircuit/model/precision.h"
#include "autocircuit/patch/masked_sum.h"
#include "autocircuit/patch/patchable_model.h"
#include "autocircuit/patch/source_buffer.h"

namespace autocircuit {

namespace {

/// One forward pass: what the model's hook points read and write.
class ForwardRun final : public Hooks {
 public:
  ForwardRun(const PatchableModel& model, const ForwardRequest& request)
      : model_(model),
        readers_(model.model().hook_names().size(), -1),
        batch_(request.input.value.size(0)),
        seq_(request.input.value.size(1)) {
    for (size_t i = 0; i < request.reads.size(); i++) {
      readers_[static_cast<size_t>(model.model().hook_id(request.reads[i]))] =
          static_cast<int64_t>(i);
    }
    names_ = request.reads;
    result_.reads.resize(names_.size());
    if (request.want_src_outs) {
      result_.src_outs = at::empty(
          {model.n_srcs(), batch_, seq_, model.model().d_model()},
          model.model().options());
      if (request.start_src_outs.defined()) {
        result_.src_outs.copy_(request.start_src_outs.detach());
      }
    }
    if (request.context != nullptr) {
      const PatchContext& context = *request.context;
      values_ = mask_values(
          context.masks, context.masks.dim() == 2, batch_, context.transform);
      deltas_.emplace(context.patch_src_outs);
      if (request.start_src_outs.defined()) {
        deltas_->record(0, request.start_src_outs);
      }
    }
  }

  at::Tensor visit(HookId hook, const at::Tensor& value) override {
    at::Tensor x = value;
    if (const PatchWrapper* w = model_.wrapper(hook)) {
      if (deltas_ && w->is_dest()) {
        x = interpolate({w}, x).select(0, 0);
      }
      if (w->is_src()) {
        record(*w, x.unsqueeze(0));
      }
    }
    read(hook, x);
    return x;
  }

  at::Tensor head_inputs(
      c10::ArrayRef<HookId> modules,
      c10::ArrayRef<int64_t> heads,
      const at::Tensor& resid) override {
    std::vector<const PatchWrapper*> wrappers;
    for (const HookId module : modules) {
      const PatchWrapper* w = model_.wrapper(module);
      if (deltas_ && w != nullptr) {
        wrappers.push_back(w);
      }
    }
    if (wrappers.empty()) {
      for (size_t i = 0; i < modules.size(); i++) {
        read(
            modules[i],
            resid.unsqueeze(2).expand({batch_, seq_, heads[i], resid.size(2)}));
      }
      return {};
    }
    TORCH_CHECK(
        wrappers.size() == modules.size(),
        wrappers[0]->module,
        ": wrap the q, k and v inputs of a block together or not at all");
    const at::Tensor inputs = interpolate(wrappers, resid);
    int64_t first_row = 0;
    for (size_t i = 0; i < modules.size(); i++) {
      read_heads(modules[i], inputs.narrow(0, first_row, wrappers[i]->rows));
      first_row += wrappers[i]->rows;
    }
    return inputs;
  }

  bool wants(HookId hook) const override {
    return reader(hook) >= 0 || records(hook);
  }

  void head_outputs(
      HookId hook,
      const at::Tensor& inputs,
      const at::Tensor& weights,
      at::IntArrayRef shape) override {
    if (!wants(hook)) {
      return;
    }
    if (records(hook) && !result_.src_outs.defined() && reader(hook) < 0 &&
        !at::GradMode::is_enabled()) {
      deltas_->record_product(model_.wrapper(hook)->src_start, inputs, weights);
      return;
    }
    head_outputs(hook, at::bmm(inputs, weights).view(shape));
  }

  void head_outputs(HookId hook, const at::Tensor& value) override {
    const PatchWrapper* w = model_.wrapper(hook);
    if (w != nullptr && w->is_src()) {
      record(*w, value);
    }
    read_heads(hook, value);
  }

  void read(HookId hook, const at::Tensor& value) override {
    if (reader(hook) >= 0) {
      // A copy, since the value may be a view of what a later hook overwrites.
      result_.reads[static_cast<size_t>(reader(hook))] = value.clone();
    }
  }

  ForwardResult finish(at::Tensor logits) {
    for (size_t i = 0; i < names_.size(); i++) {
      TORCH_CHECK(
          result_.reads[i].defined(),
          "this pass does not come to the hook point '",
          names_[i],
          "': it starts at a later block, or its heads' inputs are patched "
          "at other hook points");
    }
    result_.logits = std::move(logits);
    return std::move(result_);
  }

 private:
  int64_t reader(HookId hook) const {
    return readers_[static_cast<size_t>(hook)];
  }

  /// Whether this pass keeps the output of a source at a hook point.
  bool records(HookId hook) const {
    const PatchWrapper* w = model_.wrapper(hook);
    return w != nullptr && w->is_src() &&
        (deltas_.has_value() || result_.src_outs.defined());
  }

  void read_heads(HookId hook, const at::Tensor& heads_first) {
    read(hook, heads_first.permute({1, 2, 0, 3}));
  }

  void record(const PatchWrapper& w, const at::Tensor& outputs) {
    TORCH_CHECK(
        outputs.size(0) == w.src_stop - w.src_start,
        w.module,
        ": expected ",
        w.src_stop - w.src_start,
        " sources, the model has ",
        outputs.size(0));
    if (result_.src_outs.defined()) {
      result_.src_outs.narrow(0, w.src_start, outputs.size(0))
          .copy_(outputs.detach());
    }
    if (deltas_) {
      deltas_->record(w.src_start, outputs);
    }
  }

  /// Patched inputs of destinations that read the same sources and the same
  /// residual stream, one after another: [rows, batch, seq, d_model].
  at::Tensor interpolate(
      const std::vector<const PatchWrapper*>& wrappers,
      const at::Tensor& resid) const {
    const PatchWrapper& first = *wrappers[0];
    std::vector<at::Tensor> values;
    for (const PatchWrapper* w : wrappers) {
      TORCH_CHECK(
          w->in_start == first.in_start && w->in_stop == first.in_stop,
          w->module,
          ": expected the same incoming sources as ",
          first.module);
      values.push_back(w->module_values(values_));
    }
    return deltas_->interpolate(
        resid.unsqueeze(0),
        grouped_values(
            values.size() == 1 ? values[0] : at::cat(values, /*dim=*/-2),
            values_.dim() == 2,
            first.seq_len > 0,
            batch_,
            seq_),
        first.in_start);
  }

  const PatchableModel& model_;
  std::vector<std::string> names_; // of the hook points to read
  std::vector<int64_t> readers_;   // by hook, index of its name; -1: none
  int64_t batch_;
  int64_t seq_;
  at::Tensor values_;                  // f(mask): ([batch]) [n_masks]
  std::optional<SourceBuffer> deltas_; // of patched runs
  ForwardResult result_;
};

void check_options(
    const at::TensorOptions& options,
    const char* name,
    const at::Tensor& tensor) {
  TORCH_CHECK(tensor.defined(), name, " are undefined");
  TORCH_CHECK(
      tensor.dtype() == options.dtype() && tensor.device() == options.device(),
      "expected ",
      name,
      " of ",
      options.dtype(),
      " on ",
      options.device(),
      " to fit the weights, got ",
      tensor.dtype(),
      " on ",
      tensor.device());
}

void check_src_outs(
    const PatchableModel& model,
    const ModelInput& input,
    const char* name,
    const at::Tensor& src_outs) {
  check_options(model.model().options(), name, src_outs);
  const std::vector<int64_t> shape{
      model.n_srcs(),
      input.value.size(0),
      input.value.size(1),
      model.model().d_model()};
  TORCH_CHECK(
      src_outs.sizes() == shape,
      "expected ",
      name,
      " [n_srcs, batch, seq, d_model] = ",
      at::IntArrayRef(shape),
      ", got ",
      src_outs.sizes());
}

void check_request(const PatchableModel& model, const ForwardRequest& request) {
  const ModelInput& input = request.input;
  model.model().check_input(input);
  if (request.start_src_outs.defined()) {
    check_src_outs(
        model, input, "starting source outputs", request.start_src_outs);
  }
  TORCH_CHECK(
      input.start_block == 0 || request.start_src_outs.defined() ||
          (request.context == nullptr && !request.want_src_outs),
      "starting at block ",
      input.start_block,
      " needs the outputs of the sources before it");
  if (request.context == nullptr) {
    return;
  }
  check_src_outs(
      model, input, "source activations", request.context->patch_src_outs);
  const at::Tensor& masks = request.context->masks;
  const at::TensorOptions options = model.model().options();
  check_options(
      options.dtype(
          accumulation_type(c10::typeMetaToScalarType(options.dtype()))),
      "masks",
      masks);
  TORCH_CHECK(
      (masks.dim() == 1 ||
       (masks.dim() == 2 && masks.size(0) == input.value.size(0))) &&
          masks.size(-1) == model.n_masks(),
      "expected masks ([batch]) [n_masks] = ([",
      input.value.size(0),
      "]) [",
      model.n_masks(),
      "], got ",
      masks.sizes());
}

} // namespace

ForwardResult forward(
    const PatchableModel& model,
    const ForwardRequest& request) {
  check_request(model, request);
  ForwardRun run(model, request);
  return run.finish(model.model().forward(request.input, run));
}

} // namespace autocircuit
