#include "autocircuit/engine/reference_run.h"

#include <ATen/ops/cat.h>
#include <ATen/ops/matmul.h>
#include <ATen/ops/stack.h>

#include <utility>

#include "autocircuit/kernels/tensors.h"
#include "autocircuit/ops/head_product.h"

namespace autocircuit {

namespace {

/// One forward pass: what the model's hook points read and write.
class ReferenceRun final : public Hooks {
 public:
  ReferenceRun(const PatchableModel& model, const ForwardRequest& request)
      : model_(model),
        request_(request),
        readers_(model.model().hook_names().size(), -1),
        batch_(request.input.value.size(0)),
        seq_(request.input.value.size(1)) {
    for (size_t i = 0; i < request.reads.size(); i++) {
      readers_[static_cast<size_t>(model.model().hook_id(request.reads[i]))] =
          static_cast<int64_t>(i);
    }
    result_.reads.resize(request.reads.size());
    outputs_.resize(static_cast<size_t>(model.n_srcs()));
    if (request.start_src_outs.defined()) {
      outputs_ = request.start_src_outs.unbind(0);
    }
    if (patched()) {
      const PatchContext& context = *request.context;
      values_ = mask_values(
          context.masks, context.masks.dim() == 2, batch_, context.transform);
    }
  }

  at::Tensor visit(HookId hook, const at::Tensor& value) override {
    at::Tensor x = value;
    if (const PatchWrapper* w = model_.wrapper(hook)) {
      if (patched() && w->is_dest()) {
        x = patch_rows(*w, x).squeeze(2);
      }
      if (w->is_src()) {
        record(*w, x.unsqueeze(2));
      }
    }
    read(hook, x);
    return x;
  }

  HeadInputs head_inputs(
      c10::ArrayRef<HookId> modules,
      c10::ArrayRef<int64_t> heads,
      const at::Tensor& resid,
      const Norm* norm) override {
    (void)norm;
    std::vector<at::Tensor> inputs;
    for (size_t i = 0; i < modules.size(); i++) {
      const PatchWrapper* w = model_.wrapper(modules[i]);
      if (patched() && w != nullptr) {
        inputs.push_back(patch_rows(*w, resid)); // [batch, seq, rows, d_model]
        read(modules[i], inputs.back());
      } else {
        read(
            modules[i],
            resid.unsqueeze(2).expand({batch_, seq_, heads[i], resid.size(2)}));
      }
    }
    if (inputs.empty()) {
      return {};
    }
    TORCH_CHECK(
        inputs.size() == modules.size(),
        model_.model().hook_names()[static_cast<size_t>(modules[0])],
        ": wrap the q, k and v inputs of a block together or not at all");
    return {.rows = at::cat(inputs, 2), .normed = false};
  }

  bool wants(HookId hook) const override {
    return reader(hook) >= 0 || records(hook);
  }

  at::Tensor head_outputs(
      HookId hook,
      const at::Tensor& z,
      const at::Tensor& weights) override {
    if (wants(hook)) {
      head_outputs(hook, head_product(z, weights));
    }
    return {};
  }

  void head_outputs(HookId hook, const at::Tensor& value) override {
    if (records(hook)) {
      record(*model_.wrapper(hook), value);
    }
    read(hook, value);
  }

  void read(HookId hook, const at::Tensor& value) override {
    if (reader(hook) >= 0) {
      // Recorded, it is what the model goes on with, which has a gradient; else
      // a copy, since it may be a view of what a later hook overwrites.
      result_.reads[static_cast<size_t>(reader(hook))] =
          is_recorded(value) ? value : value.clone();
    }
  }

  ForwardResult finish(at::Tensor logits) {
    for (size_t i = 0; i < result_.reads.size(); i++) {
      TORCH_CHECK(
          result_.reads[i].defined(),
          "this pass does not come to the hook point '",
          request_.reads[i],
          "': it starts at a later block, or its heads' inputs are patched "
          "at other hook points");
    }
    result_.logits = std::move(logits);
    if (request_.want_src_outs) {
      result_.src_outs = at::stack(outputs_).detach();
    }
    return std::move(result_);
  }

 private:
  bool patched() const {
    return request_.context != nullptr;
  }

  int64_t reader(HookId hook) const {
    return readers_[static_cast<size_t>(hook)];
  }

  /// Returns whether this pass keeps the output of a source at a hook point.
  bool records(HookId hook) const {
    const PatchWrapper* w = model_.wrapper(hook);
    return w != nullptr && w->is_src() && (patched() || request_.want_src_outs);
  }

  /// outputs: [batch, seq, sources, d_model].
  void record(const PatchWrapper& w, const at::Tensor& outputs) {
    w.check_sources(outputs.size(2));
    for (int64_t i = 0; i < outputs.size(2); i++) {
      outputs_[static_cast<size_t>(w.src_start + i)] = outputs.select(2, i);
    }
  }

  /// Patched inputs of a destination: [batch, seq, rows or 1, d_model].
  at::Tensor patch_rows(const PatchWrapper& w, const at::Tensor& resid) const {
    std::vector<at::Tensor> current;
    for (int64_t s = w.in_start; s < w.in_stop; s++) {
      const at::Tensor& output = outputs_[static_cast<size_t>(s)];
      TORCH_CHECK(
          output.defined(),
          w.module,
          ": source ",
          s,
          " feeds it, but was not recorded before it");
      current.push_back(output);
    }
    at::Tensor values = w.token_values(values_, resid.size(1));
    const at::ScalarType wide = values.scalar_type();
    const at::Tensor patch =
        request_.context->patch_src_outs.narrow(0, w.in_start, w.n_in());
    at::Tensor base = resid.to(wide).unsqueeze(2);
    if (model_.reads_only_sources(w) && request_.added.empty()) {
      const at::Tensor patched = patched_rows(values);
      // 0 or 1 of each: exact, and without waiting for a device.
      base = base * (1 - patched) + fully_patched(w, patch) * patched;
      values = values - patched;
    }
    const at::Tensor delta =
        (patch - at::stack(current)).to(wide).permute({1, 2, 0, 3});
    return (base + at::matmul(values, delta)).to(resid.scalar_type());
  }

  /// Constant + sum of the patches: [batch, seq, 1, d_model].
  at::Tensor fully_patched(const PatchWrapper& w, const at::Tensor& patch)
      const {
    at::Tensor sum = patch[0].to(values_.scalar_type());
    for (int64_t s = 1; s < patch.size(0); s++) {
      sum = sum + patch[s];
    }
    const at::Tensor constant = model_.constant(w);
    return (constant.defined() ? constant + sum : sum).unsqueeze(2);
  }

  const PatchableModel& model_;
  const ForwardRequest& request_;
  std::vector<int64_t> readers_; // by hook, index of its name; -1: none
  int64_t batch_;
  int64_t seq_;
  at::Tensor values_;               // f(mask): ([batch]) [n_masks]
  std::vector<at::Tensor> outputs_; // of each source [batch, seq, d_model]
  ForwardResult result_;
};

} // namespace

ForwardResult reference_forward(
    const PatchableModel& model,
    const ForwardRequest& request) {
  ReferenceRun run(model, request);
  return run.finish(
      forward_adding(model.model(), request.input, run, request.added));
}

} // namespace autocircuit
