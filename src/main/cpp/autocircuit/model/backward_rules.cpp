#include "autocircuit/model/backward_rules.h"

#include <ATen/ops/_softmax_backward_data.h>
#include <ATen/ops/pow.h>
#include <ATen/ops/softmax.h>
#include <torch/csrc/autograd/custom_function.h>

#include "autocircuit/memory/backward_scope.h"

namespace autocircuit {

using torch::autograd::AutogradContext;
using torch::autograd::variable_list;

namespace {

struct ScaleGradientFunction
    : torch::autograd::Function<ScaleGradientFunction> {
  static at::Tensor forward(
      AutogradContext* ctx,
      const at::Tensor& x,
      double factor) {
    ctx->saved_data["factor"] = factor;
    return x.view_as(x);
  }

  static variable_list backward(
      AutogradContext* ctx,
      const variable_list& grads) {
    const BackwardScope scope;
    return {grads[0] * ctx->saved_data["factor"].toDouble(), {}};
  }
};

struct SoftmaxFunction : torch::autograd::Function<SoftmaxFunction> {
  static at::Tensor forward(
      AutogradContext* ctx,
      const at::Tensor& scores,
      double temperature,
      double factor) {
    const at::Tensor pattern = at::softmax(scores, -1);
    ctx->save_for_backward({pattern});
    ctx->saved_data["temperature"] = temperature;
    ctx->saved_data["factor"] = factor;
    return pattern;
  }

  static variable_list backward(
      AutogradContext* ctx,
      const variable_list& grads) {
    const BackwardScope scope;
    const double temperature = ctx->saved_data["temperature"].toDouble();
    const double factor = ctx->saved_data["factor"].toDouble();
    at::Tensor pattern = ctx->get_saved_variables()[0];
    if (temperature != 1) {
      // That of divided scores, without the scores: what is 0 here, where the
      // other may not be, is less than rounding there, too.
      pattern = at::pow(pattern, 1 / temperature);
      pattern.div_(pattern.sum(-1, /*keepdim=*/true));
    }
    at::Tensor grad = at::_softmax_backward_data(
        grads[0], pattern, -1, pattern.scalar_type());
    if (factor != 1) {
      grad.mul_(factor);
    }
    return {grad, {}, {}};
  }
};

} // namespace

at::Tensor scale_gradient(const at::Tensor& x, double factor) {
  return factor == 1 ? x : ScaleGradientFunction::apply(x, factor);
}

at::Tensor attention_softmax(
    const at::Tensor& scores,
    const BackwardRules& rules) {
  if (rules.softmax_temperature == 1 && rules.queries_and_keys == 1) {
    return at::softmax(scores, -1);
  }
  // Queries and keys get all their gradient from the scores.
  return SoftmaxFunction::apply(
      scores, rules.softmax_temperature, rules.queries_and_keys);
}

} // namespace autocircuit
