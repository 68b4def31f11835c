#include "autocircuit/engine/saved_norm.h"

#include <ATen/core/ivalue.h>

namespace autocircuit {

namespace {

struct NormHolder : torch::CustomClassHolder {
  explicit NormHolder(const Norm* given)
      : norm(given == nullptr ? std::nullopt : std::optional<Norm>(*given)) {}

  std::optional<Norm> norm;
};

} // namespace

void save_norm(torch::autograd::AutogradContext* ctx, const Norm* norm) {
  ctx->saved_data["norm"] =
      c10::IValue::make_capsule(c10::make_intrusive<NormHolder>(norm));
}

std::optional<Norm> saved_norm(torch::autograd::AutogradContext* ctx) {
  return c10::static_intrusive_pointer_cast<NormHolder>(
             ctx->saved_data["norm"].toCapsule())
      ->norm;
}

} // namespace autocircuit
