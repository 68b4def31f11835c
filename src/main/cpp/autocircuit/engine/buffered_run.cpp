#include "autocircuit/engine/buffered_run.h"

#include <ATen/core/grad_mode.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/zeros.h>

#include <optional>
#include <utility>
#include <vector>

#include "autocircuit/engine/dest_rows.h"
#include "autocircuit/engine/fully_patched.h"
#include "autocircuit/engine/masked_rows.h"
#include "autocircuit/engine/pass_end.h"
#include "autocircuit/engine/source_buffer.h"
#include "autocircuit/model/precision.h"
#include "autocircuit/ops/head_product.h"

namespace autocircuit {

namespace {

// Returns whether autograd may record a pass; weights have no gradients here.
bool may_be_recorded(const ForwardRequest& request) {
  return at::GradMode::is_enabled() &&
      (request.context->masks.requires_grad() ||
       request.context->patch_src_outs.requires_grad() ||
       request.input.is_resid || !request.input.prefix.empty() ||
       !request.added.empty());
}

class BufferedRun final : public Hooks {
 public:
  /// compact: where sources are kept as z; nullptr: as outputs.
  BufferedRun(
      const PatchableModel& model,
      const ForwardRequest& request,
      c10::intrusive_ptr<CompactSources> compact = {})
      : model_(model),
        ends_at_last_(
            autocircuit::ends_at_last(model, request.input.slice) &&
            (!request.want_src_outs || request.only_last_counts) && !compact),
        want_differences_(request.want_differences),
        compact_(std::move(compact)) {
    const int64_t batch = request.input.value.size(0);
    const int64_t seq = request.input.value.size(1);
    if (request.want_src_outs) {
      const std::vector<int64_t> shape{
          batch, seq, model.n_srcs(), model.model().d_model()};
      const at::TensorOptions options = model.model().options();
      src_outs_ =
          ends_at_last_ ? at::zeros(shape, options) : at::empty(shape, options);
    }
    if (request.context != nullptr) {
      const PatchContext& context = *request.context;
      values_ = mask_values(
          context.masks, context.masks.dim() == 2, batch, context.transform);
      uniform_ = context.uniform;
      if (!compact_) {
        deltas_.emplace(context.patch_src_outs, may_be_recorded(request));
      }
      if (!compact_ && request.added.empty()) {
        patched_.emplace(model, context.patch_src_outs);
      }
    }
    if (request.start_src_outs.defined()) {
      record(0, request.start_src_outs.permute({1, 2, 0, 3}));
    }
  }

  at::Tensor visit(HookId hook, const at::Tensor& value) override {
    at::Tensor x = value;
    if (const PatchWrapper* w = model_.wrapper(hook)) {
      if (values_.defined() && w->is_dest()) {
        x = rows({w}, x, nullptr).squeeze(2);
      }
      if (w->is_src()) {
        w->check_sources(1);
        record(w->src_start, x.unsqueeze(2));
      }
    }
    return x;
  }

  HeadInputs head_inputs(
      c10::ArrayRef<HookId> modules,
      c10::ArrayRef<int64_t> heads,
      const at::Tensor& resid,
      const Norm* norm) override {
    (void)heads;
    if (!values_.defined()) {
      return {};
    }
    return all_head_inputs(
        model_,
        modules,
        resid,
        norm,
        ends_at_last_,
        [&](const auto& wrappers, const at::Tensor& x) {
          return rows(wrappers, x, norm);
        });
  }

  bool wants(HookId hook) const override {
    const PatchWrapper* w = model_.wrapper(hook);
    return w != nullptr && w->is_src() &&
        (compact_ || deltas_.has_value() || src_outs_.defined());
  }

  bool ends_at_last() const override {
    return ends_at_last_;
  }

  at::Tensor head_outputs(
      HookId hook,
      const at::Tensor& z,
      const at::Tensor& weights) override {
    if (!wants(hook)) {
      return {};
    }
    const PatchWrapper& w = *model_.wrapper(hook);
    w.check_sources(z.size(2));
    if (compact_) {
      compact_->record_heads(w.src_start, z, weights);
      return {};
    }
    if (z.scalar_type() != accumulation_type(z.scalar_type())) {
      // Outputs rounded to 16 bits do not sum to what the model adds.
      record(w.src_start, head_product(z, weights));
      return {};
    }
    if (deltas_) {
      const at::Tensor sum = deltas_->record_heads(w.src_start, z, weights);
      if (src_outs_.defined()) {
        src_outs_at(w.src_start, z)
            .copy_(deltas_->outputs(w.src_start, z.size(2), z.size(1)));
      }
      return sum;
    }
    const at::Tensor rows = src_outs_at(w.src_start, z);
    head_product_out(rows, z.detach(), weights.detach());
    return at::GradMode::is_enabled() ? at::Tensor()
                                      : sum_rows(rows).to(rows.scalar_type());
  }

  void head_outputs(HookId hook, const at::Tensor& value) override {
    if (wants(hook)) {
      const PatchWrapper& w = *model_.wrapper(hook);
      w.check_sources(value.size(2));
      record(w.src_start, value);
    }
  }

  ForwardResult finish(at::Tensor logits) {
    ForwardResult result;
    result.logits = std::move(logits);
    if (src_outs_.defined()) {
      result.src_outs = src_outs_.permute({2, 0, 1, 3});
    }
    if (want_differences_) {
      TORCH_CHECK(deltas_.has_value(), "expected a patched run");
      result.differences = deltas_->all();
    }
    return result;
  }

 private:
  /// Returns where sources start... leave their outputs, as many and at as many
  /// positions as `like` [batch, positions, sources, ...] has.
  at::Tensor src_outs_at(int64_t start, const at::Tensor& like) const {
    return last_positions(src_outs_, like.size(1))
        .narrow(2, start, like.size(2));
  }

  /// outputs: [batch, positions, sources, d_model].
  void record(int64_t start, const at::Tensor& outputs) {
    if (src_outs_.defined()) {
      src_outs_at(start, outputs).copy_(outputs.detach());
    }
    if (deltas_) {
      deltas_->record(start, outputs);
    }
    if (compact_) {
      compact_->record(start, outputs);
    }
  }

  int64_t recorded() const {
    return compact_ ? compact_->recorded() : deltas_->recorded();
  }

  /// Returns what a destination reads if all its masks are 1; undefined where
  /// it reads more than its sources, or something was added to the stream.
  at::Tensor patched_input(const PatchWrapper& dest, int64_t positions) {
    if (compact_) {
      return plus_constant(model_, dest, compact_->patch_sum());
    }
    return patched_ ? patched_->input(dest, positions) : at::Tensor();
  }

  /// Patched inputs of destinations that read the same sources and the same
  /// residual stream, one after another: [batch, positions, rows, d_model].
  at::Tensor rows(
      const std::vector<const PatchWrapper*>& wrappers,
      const at::Tensor& resid,
      const Norm* norm) {
    const PatchWrapper& first = *wrappers[0];
    const int64_t positions = resid.size(1);
    const at::Tensor values = values_together(wrappers, values_, positions);
    if (uniform_ &&
        (*uniform_ == 0 ||
         (first.in_start == 0 && first.in_stop == recorded()))) {
      const at::Tensor patched =
          *uniform_ == 0 ? at::Tensor() : patched_input(first, positions);
      if (*uniform_ == 0 || patched.defined()) {
        return equal_rows(
            uniformly_patched(resid, patched, *uniform_),
            values,
            compact_ ? c10::intrusive_ptr<Differences>(compact_)
                     : deltas_->differences(),
            first.in_start,
            norm);
      }
    }
    TORCH_CHECK(!compact_, first.module, ": does not fit a compact run");
    RowBases bases{.stream = resid};
    at::Tensor weights = values;
    const at::Tensor is_patched = patched_rows(values);
    // Devices that would have to be waited for are not asked.
    const bool any_patched = uniform_
        ? *uniform_ != 0
        : !is_patched.is_cpu() || is_patched.any().item<bool>();
    if (any_patched) {
      bases.patched = patched_input(first, positions);
    }
    if (bases.patched.defined()) {
      bases.is_patched = is_patched;
      weights = values - is_patched;
    }
    return deltas_->rows(bases, weights, first.in_start, norm);
  }

  const PatchableModel& model_;
  bool ends_at_last_;
  bool want_differences_;
  at::Tensor values_;                  // f(mask): ([batch]) [n_masks]
  std::optional<double> uniform_;      // what all of them are
  std::optional<SourceBuffer> deltas_; // of patched runs
  std::optional<FullyPatched> patched_;
  c10::intrusive_ptr<CompactSources> compact_; // instead of the two
  at::Tensor src_outs_;                        // [batch, seq, n_srcs, d_model]
};

} // namespace

ForwardResult buffered_forward(
    const PatchableModel& model,
    const ForwardRequest& request) {
  return buffered_forward(model, request, [&](Hooks& hooks) {
    return forward_adding(model.model(), request.input, hooks, request.added);
  });
}

ForwardResult buffered_forward(
    const PatchableModel& model,
    const ForwardRequest& request,
    const std::function<at::Tensor(Hooks&)>& run) {
  BufferedRun hooks(model, request);
  return hooks.finish(run(hooks));
}

bool fits_compact(const PatchableModel& model, double value) {
  if (value == 0) {
    return true;
  }
  const auto hooks = static_cast<HookId>(model.model().hook_names().size());
  int64_t sources = 0;
  for (HookId hook = 0; hook < hooks; hook++) {
    const PatchWrapper* w = model.wrapper(hook);
    if (w != nullptr && w->is_dest() &&
        (w->in_start != 0 || w->in_stop != sources ||
         !model.reads_only_sources(*w))) {
      return false;
    }
    if (w != nullptr && w->is_src()) {
      sources = w->src_stop;
    }
  }
  return true;
}

ForwardResult compact_forward(
    const PatchableModel& model,
    const ForwardRequest& request,
    c10::intrusive_ptr<CompactSources> sources) {
  BufferedRun hooks(model, request, std::move(sources));
  return hooks.finish(model.model().forward(request.input, hooks));
}

} // namespace autocircuit
