#include "autocircuit/engine/source_buffer.h"

#include <ATen/ops/empty.h>
#include <ATen/ops/sub.h>
#include <ATen/ops/zeros.h>
#include <torch/csrc/autograd/custom_function.h>
#include <torch/csrc/autograd/engine.h>
#include <torch/csrc/autograd/graph_task.h>

#include <optional>
#include <utility>

#include "autocircuit/engine/masked_rows.h"
#include "autocircuit/engine/pass_end.h"
#include "autocircuit/engine/saved_norm.h"
#include "autocircuit/memory/backward_scope.h"
#include "autocircuit/memory/rehearsal.h"
#include "autocircuit/model/precision.h"
#include "autocircuit/ops/head_product.h"
#include "autocircuit/ops/product.h"
#include "autocircuit/patch/patch_wrapper.h"

namespace autocircuit {

using torch::autograd::AutogradContext;
using torch::autograd::variable_list;

namespace {

// Some sources at the last positions of a buffer [batch, seq, n_srcs, d_model].
at::Tensor sources_of(
    const at::Tensor& buffer,
    int64_t start,
    int64_t n,
    int64_t positions) {
  return last_positions(buffer, positions).narrow(2, start, n);
}

using Deltas = c10::intrusive_ptr<SourceDeltas>;

/// Saves what every function keeps of the buffer.
void save(AutogradContext* ctx, const Deltas& deltas, int64_t start) {
  ctx->saved_data["deltas"] = c10::IValue::make_capsule(deltas);
  ctx->saved_data["start"] = start;
}
Deltas saved_deltas(AutogradContext* ctx) {
  return c10::static_intrusive_pointer_cast<SourceDeltas>(
      ctx->saved_data["deltas"].toCapsule());
}
int64_t saved_start(AutogradContext* ctx) {
  return ctx->saved_data["start"].toInt();
}

struct RecordFunction : torch::autograd::Function<RecordFunction> {
  static at::Tensor forward(
      AutogradContext* ctx,
      const at::Tensor& token,
      const at::Tensor& outputs,
      const at::Tensor& patch,
      const Deltas& deltas,
      int64_t start) {
    at::Tensor delta =
        sources_of(deltas->delta, start, outputs.size(2), outputs.size(1));
    at::sub_out(delta, patch, outputs);
    save(ctx, deltas, start);
    ctx->saved_data["rows"] = outputs.size(2);
    ctx->saved_data["positions"] = outputs.size(1);
    return token.clone();
  }

  static variable_list backward(
      AutogradContext* ctx,
      const variable_list& grads) {
    const BackwardScope scope;
    const Deltas deltas = saved_deltas(ctx);
    const at::Tensor grad = deltas->grad();
    if (!grad.defined()) { // this backward pass has met no reader
      return {grads[0], {}, {}, {}, {}};
    }
    const at::Tensor rows = sources_of(
        grad,
        saved_start(ctx),
        ctx->saved_data["rows"].toInt(),
        ctx->saved_data["positions"].toInt());
    at::Tensor grad_outputs;
    at::Tensor grad_patch;
    // Autograd rounds them to the type of the outputs and of the patch.
    if (ctx->needs_input_grad(1)) {
      grad_outputs = rows.neg();
    }
    if (ctx->needs_input_grad(2)) {
      grad_patch = rows.clone();
    }
    return {grads[0], grad_outputs, grad_patch, {}, {}};
  }
};

struct RecordHeadsFunction : torch::autograd::Function<RecordHeadsFunction> {
  static variable_list forward(
      AutogradContext* ctx,
      const at::Tensor& token,
      const at::Tensor& z,
      const at::Tensor& patch,
      const at::Tensor& weights,
      const Deltas& deltas,
      int64_t start) {
    const int64_t heads = z.size(2);
    const at::Tensor rows = sources_of(deltas->delta, start, heads, z.size(1));
    head_product_out(rows, z, weights);
    ctx->save_for_backward({weights});
    save(ctx, deltas, start);
    return {token.clone(), sum_rows(rows, patch).to(z.scalar_type())};
  }

  static variable_list backward(
      AutogradContext* ctx,
      const variable_list& grads) {
    const BackwardScope scope;
    const at::Tensor weights = ctx->get_saved_variables()[0];
    const int64_t heads = weights.size(0);
    const Deltas deltas = saved_deltas(ctx);
    const at::Tensor grad = deltas->grad();
    if (!grad.defined()) {
      const at::Tensor flat = grads[1].reshape({-1, weights.size(2)});
      return {
          grads[0],
          product(flat, weights.reshape({-1, flat.size(1)}).t())
              .view({grads[1].size(0), grads[1].size(1), heads, -1}),
          {},
          {},
          {},
          {}};
    }
    at::Tensor rows =
        sources_of(grad, saved_start(ctx), heads, grads[1].size(1));
    at::Tensor grad_patch;
    if (ctx->needs_input_grad(2)) {
      grad_patch = rows.clone();
    }
    at::Tensor grad_z;
    if (ctx->needs_input_grad(1)) {
      // A head's output counts in the sum and, negatively, in its difference.
      // The rows have no other reader any more.
      at::sub_out(rows, grads[1].unsqueeze(2), rows);
      grad_z =
          head_product(rows.to(weights.scalar_type()), weights.transpose(1, 2));
    }
    return {grads[0], grad_z, grad_patch, {}, {}, {}};
  }
};

struct RowsFunction : torch::autograd::Function<RowsFunction> {
  static at::Tensor forward(
      AutogradContext* ctx,
      const at::Tensor& stream,
      const at::Tensor& weights,
      const at::Tensor& token,
      const std::optional<at::Tensor>& patched,
      const std::optional<at::Tensor>& is_patched,
      const Deltas& deltas,
      int64_t start,
      const Norm* norm) {
    (void)token;
    const RowBases bases{
        stream,
        patched.value_or(at::Tensor()),
        is_patched.value_or(at::Tensor())};
    ctx->save_for_backward(
        {bases.stream, bases.patched, bases.is_patched, weights});
    save(ctx, deltas, start);
    save_norm(ctx, norm);
    return masked_rows(
        bases,
        weights,
        sources_of(deltas->delta, start, weights.size(3), stream.size(1)),
        norm);
  }

  static variable_list backward(
      AutogradContext* ctx,
      const variable_list& grads) {
    const BackwardScope scope;
    const auto saved = ctx->get_saved_variables();
    const RowBases bases{saved[0], saved[1], saved[2]};
    const at::Tensor& weights = saved[3];
    const int64_t positions = bases.stream.size(1);
    const Deltas deltas = saved_deltas(ctx);
    const int64_t start = saved_start(ctx);
    const int64_t n = weights.size(3);
    const bool to_sources = ctx->needs_input_grad(2);
    at::Tensor grad_delta;
    if (to_sources) {
      grad_delta = deltas->grad();
      grad_delta = sources_of(
          grad_delta.defined() ? grad_delta : deltas->start_grad(),
          start,
          n,
          positions);
    }
    const std::optional<Norm> norm = saved_norm(ctx);
    const MaskedRowsGradient result = masked_rows_backward(
        grads[0],
        bases,
        weights,
        sources_of(deltas->delta, start, n, positions),
        norm ? &*norm : nullptr,
        {.values = ctx->needs_input_grad(1),
         .patched = bases.patched.defined() && ctx->needs_input_grad(3)},
        grad_delta);
    return {
        ctx->needs_input_grad(0) ? result.stream : at::Tensor(),
        result.values,
        to_sources ? at::zeros({}, deltas->delta.options()) : at::Tensor(),
        result.patched,
        {},
        {},
        {},
        {}};
  }
};

} // namespace

at::Tensor SourceDeltas::grad() const {
  const std::lock_guard<std::mutex> lock(mutex_);
  const auto found = grads_.find(torch::autograd::get_current_graph_task_id());
  const auto held = found == grads_.end() ? nullptr : found->second.lock();
  return held ? *held : at::Tensor();
}

at::Tensor SourceDeltas::start_grad() {
  const auto grad = std::make_shared<at::Tensor>(at::zeros(
      delta.sizes(),
      delta.options().dtype(accumulation_type(delta.scalar_type()))));
  // The graph task holds its callbacks until it ends, however it ends.
  torch::autograd::Engine::get_default_engine().queue_callback(
      [grad] { (void)grad; });
  const std::lock_guard<std::mutex> lock(mutex_);
  std::erase_if(
      grads_, [](const auto& entry) { return entry.second.expired(); });
  grads_[torch::autograd::get_current_graph_task_id()] = grad;
  return *grad;
}

at::ScalarType stored_type(const at::Tensor& patch, bool is_kept) {
  return is_on_cpu(patch) && !is_kept ? accumulation_type(patch.scalar_type())
                                      : patch.scalar_type();
}

SourceBuffer::SourceBuffer(const at::Tensor& patch_src_outs, bool is_kept)
    : patch_(patch_src_outs.permute({1, 2, 0, 3})),
      deltas_(c10::make_intrusive<SourceDeltas>(empty_deltas(
          patch_.sizes(),
          patch_.options()
              .dtype(stored_type(patch_, is_kept))
              .requires_grad(false)))),
      token_(at::zeros({}, deltas_->delta.options())) {}

void SourceBuffer::record(int64_t start, const at::Tensor& outputs) {
  token_ = RecordFunction::apply(
      token_,
      outputs,
      sources_of(patch_, start, outputs.size(2), outputs.size(1)),
      deltas_,
      start);
  recorded(start, outputs);
}

void SourceBuffer::recorded(int64_t start, const at::Tensor& like) {
  recorded_ = start + like.size(2);
  if (like.size(1) == deltas_->seq()) {
    recorded_everywhere_ = recorded_;
  }
}

at::Tensor SourceBuffer::record_heads(
    int64_t start,
    const at::Tensor& z,
    const at::Tensor& weights) {
  const variable_list results = RecordHeadsFunction::apply(
      token_,
      z,
      sources_of(patch_, start, z.size(2), z.size(1)),
      weights,
      deltas_,
      start);
  token_ = results[0];
  recorded(start, z);
  return results[1];
}

at::Tensor SourceBuffer::outputs(int64_t start, int64_t n, int64_t positions)
    const {
  const at::Tensor outputs = sources_of(patch_, start, n, positions).detach() -
      sources_of(deltas_->delta, start, n, positions);
  return outputs.to(patch_.scalar_type());
}

at::Tensor SourceBuffer::all() const {
  const at::Tensor& delta = deltas_->delta;
  delta.narrow(1, 0, delta.size(1) - 1)
      .narrow(2, recorded_everywhere_, delta.size(2) - recorded_everywhere_)
      .zero_();
  return delta.permute({2, 0, 1, 3});
}

at::Tensor SourceBuffer::rows(
    const RowBases& bases,
    const at::Tensor& weights,
    int64_t in_start,
    const Norm* norm) const {
  const auto given = [](const at::Tensor& x) {
    return x.defined() ? std::optional<at::Tensor>(x) : std::nullopt;
  };
  return RowsFunction::apply(
             bases.stream.to(deltas_->delta.scalar_type()),
             weights,
             token_,
             given(bases.patched),
             given(bases.is_patched),
             deltas_,
             in_start,
             norm)
      .to(patch_.scalar_type());
}

} // namespace autocircuit
