#include "autocircuit/patch/source_buffer.h"

#include <ATen/core/grad_mode.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/sub.h>
#include <ATen/ops/zeros.h>
#include <torch/csrc/autograd/custom_function.h>
#include <torch/csrc/autograd/graph_task.h>

#include <utility>

#include "autocircuit/model/precision.h"
#include "autocircuit/patch/masked_sum.h"

namespace autocircuit {

using torch::autograd::AutogradContext;
using torch::autograd::variable_list;

namespace {

void refuse_double_backward() {
  TORCH_CHECK(
      !at::GradMode::is_enabled(),
      "patched forwards support one backward, not the gradient of a gradient: "
      "run it without create_graph");
}

// Rows of the gradient buffer. Each backward pass starts from zeros, since one
// for some of the inputs may leave rows behind that it had no use for.
at::Tensor grad_rows(SourceDeltas& deltas, int64_t start, int64_t n) {
  const int task = torch::autograd::get_current_graph_task_id();
  if (!deltas.grad.defined() || deltas.grad_task != task) {
    deltas.grad = at::zeros(
        deltas.delta.sizes(),
        deltas.delta.options().dtype(
            accumulation_type(deltas.delta.scalar_type())));
    deltas.grad_task = task;
  }
  return deltas.grad.narrow(0, start, n);
}

c10::intrusive_ptr<SourceDeltas> saved_deltas(AutogradContext* ctx) {
  return c10::static_intrusive_pointer_cast<SourceDeltas>(
      ctx->saved_data["deltas"].toCapsule());
}

struct RecordFunction : torch::autograd::Function<RecordFunction> {
  static at::Tensor forward(
      AutogradContext* ctx,
      const at::Tensor& token,
      const at::Tensor& outputs,
      const at::Tensor& patch,
      const c10::intrusive_ptr<SourceDeltas>& deltas,
      int64_t start) {
    const int64_t rows = outputs.size(0);
    at::Tensor delta = deltas->delta.narrow(0, start, rows);
    at::sub_out(delta, patch, outputs);
    ctx->saved_data["deltas"] = c10::IValue::make_capsule(deltas);
    ctx->saved_data["start"] = start;
    ctx->saved_data["rows"] = rows;
    return token.clone();
  }

  static variable_list backward(
      AutogradContext* ctx,
      const variable_list& grads) {
    refuse_double_backward();
    const auto deltas = saved_deltas(ctx);
    at::Tensor rows = grad_rows(
        *deltas,
        ctx->saved_data["start"].toInt(),
        ctx->saved_data["rows"].toInt());
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

struct InterpolateFunction : torch::autograd::Function<InterpolateFunction> {
  static at::Tensor forward(
      AutogradContext* ctx,
      const at::Tensor& base,
      const at::Tensor& values,
      const at::Tensor& token,
      const c10::intrusive_ptr<SourceDeltas>& deltas,
      int64_t in_start) {
    (void)token;
    ctx->save_for_backward({values});
    ctx->saved_data["deltas"] = c10::IValue::make_capsule(deltas);
    ctx->saved_data["start"] = in_start;
    ctx->saved_data["shared_base"] = base.size(0) == 1;
    return masked_sum(
        base, values, deltas->delta.narrow(0, in_start, values.size(2)));
  }

  static variable_list backward(
      AutogradContext* ctx,
      const variable_list& grads) {
    refuse_double_backward();
    const auto deltas = saved_deltas(ctx);
    const at::Tensor values = ctx->get_saved_variables()[0];
    const int64_t start = ctx->saved_data["start"].toInt();
    const int64_t n = values.size(2);
    const at::Tensor grad = grads[0].contiguous();
    at::Tensor grad_base;
    at::Tensor grad_values;
    at::Tensor grad_token;
    if (ctx->needs_input_grad(0)) {
      grad_base = ctx->saved_data["shared_base"].toBool()
          ? grad.sum(0, /*keepdim=*/true)
          : grad;
    }
    if (ctx->needs_input_grad(1)) {
      grad_values = masked_sum_grad_values(
          grad, deltas->delta.narrow(0, start, n), values.size(0));
    }
    if (ctx->needs_input_grad(2)) {
      add_masked_sum_grad_delta(grad_rows(*deltas, start, n), grad, values);
      grad_token = at::zeros({}, grad.options());
    }
    return {grad_base, grad_values, grad_token, {}, {}};
  }
};

} // namespace

SourceBuffer::SourceBuffer(at::Tensor patch_src_outs)
    : patch_src_outs_(std::move(patch_src_outs)),
      deltas_(c10::make_intrusive<SourceDeltas>(at::empty(
          patch_src_outs_.sizes(),
          patch_src_outs_.options().requires_grad(false)))),
      token_(at::zeros({}, deltas_->delta.options())) {}

void SourceBuffer::record(int64_t start, const at::Tensor& outputs) {
  token_ = RecordFunction::apply(
      token_,
      outputs,
      patch_src_outs_.narrow(0, start, outputs.size(0)),
      deltas_,
      start);
}

void SourceBuffer::record_product(
    int64_t start,
    const at::Tensor& z,
    const at::Tensor& w) {
  // The patch may be expanded, so it is copied before its shape changes.
  const at::Tensor delta = deltas_->delta.narrow(0, start, z.size(0));
  delta.copy_(patch_src_outs_.narrow(0, start, z.size(0)));
  delta.view({z.size(0), z.size(1), w.size(2)})
      .baddbmm_(z, w, /*beta=*/1, /*alpha=*/-1);
}

at::Tensor SourceBuffer::interpolate(
    const at::Tensor& base,
    const at::Tensor& values,
    int64_t in_start) const {
  return InterpolateFunction::apply(base, values, token_, deltas_, in_start);
}

} // namespace autocircuit
