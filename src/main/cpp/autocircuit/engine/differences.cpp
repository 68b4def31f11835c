#include "autocircuit/engine/differences.h"

#include <ATen/core/ivalue.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/empty_like.h>
#include <ATen/ops/zeros_like.h>

#include <algorithm>
#include <utility>

#include "autocircuit/engine/masked_rows.h"
#include "autocircuit/engine/saved_norm.h"
#include "autocircuit/memory/backward_scope.h"
#include "autocircuit/memory/rehearsal.h"

namespace autocircuit {

using torch::autograd::AutogradContext;
using torch::autograd::variable_list;

namespace {

struct EqualRowsFunction : torch::autograd::Function<EqualRowsFunction> {
  static at::Tensor forward(
      AutogradContext* ctx,
      const at::Tensor& x,
      const at::Tensor& values,
      const c10::intrusive_ptr<Differences>& differences,
      int64_t start,
      const Norm* norm) {
    ctx->save_for_backward({x, values});
    ctx->saved_data["differences"] = c10::IValue::make_capsule(differences);
    ctx->saved_data["start"] = start;
    save_norm(ctx, norm);
    const at::Tensor y = norm == nullptr ? x.clone() : (*norm)(x);
    return y.unsqueeze(2).expand({-1, -1, values.size(2), -1});
  }

  static variable_list backward(
      AutogradContext* ctx,
      const variable_list& grads) {
    const BackwardScope scope;
    const auto saved = ctx->get_saved_variables();
    const at::Tensor& x = saved[0];
    const at::Tensor& values = saved[1];
    const auto differences = c10::static_intrusive_pointer_cast<Differences>(
        ctx->saved_data["differences"].toCapsule());
    const std::optional<Norm> norm = saved_norm(ctx);
    const int64_t seq = x.size(1);
    const int64_t before = differences->seq() - seq;
    const int64_t step = differences->positions_at_once(values.size(3), seq);
    const auto gradient_of = [&](int64_t first, int64_t n) {
      const auto part = [&](const at::Tensor& t) {
        return t.size(1) == seq ? t.narrow(1, first, n) : t;
      };
      return equal_rows_backward(
          part(grads[0]),
          part(x),
          part(values),
          differences->rows(
              ctx->saved_data["start"].toInt(),
              values.size(3),
              before + first,
              n),
          norm ? &*norm : nullptr);
    };
    if (step >= seq) {
      const MaskedRowsGradient all = gradient_of(0, seq);
      return {all.stream, all.values, {}, {}, {}};
    }
    const at::Tensor grad_x = at::empty_like(x);
    const at::Tensor grad_values = at::zeros_like(values);
    for (int64_t first = 0; first < seq; first += step) {
      const int64_t n = std::min(step, seq - first);
      const MaskedRowsGradient some = gradient_of(first, n);
      grad_x.narrow(1, first, n).copy_(some.stream);
      (values.size(1) == seq ? grad_values.narrow(1, first, n) : grad_values)
          .add_(some.values);
    }
    return {grad_x, grad_values, {}, {}, {}};
  }
};

} // namespace

at::Tensor empty_deltas(
    at::IntArrayRef shape,
    const at::TensorOptions& options) {
  const MemoryPartScope deltas(MemoryPart::kDeltas);
  return at::empty(shape, options);
}

at::Tensor equal_rows(
    const at::Tensor& x,
    const at::Tensor& values,
    c10::intrusive_ptr<Differences> differences,
    int64_t in_start,
    const Norm* norm) {
  return EqualRowsFunction::apply(
      x, values, std::move(differences), in_start, norm);
}

} // namespace autocircuit
