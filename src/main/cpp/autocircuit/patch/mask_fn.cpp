#include "autocircuit/patch/mask_fn.h"

#include <ATen/CPUGeneratorImpl.h>
#include <ATen/ops/clamp.h>
#include <ATen/ops/log.h>
#include <ATen/ops/rand.h>
#include <ATen/ops/sigmoid.h>
#include <ATen/ops/threshold.h>

#include <vector>

#include "autocircuit/memory/rehearsal.h"

namespace autocircuit {

namespace {

// Louizos et al. 2018, "Learning sparse neural networks through L0
// regularization": a concrete sample stretched to [kLeft, kRight], then cut.
constexpr double kLeft = -0.1;
constexpr double kRight = 1.1;
constexpr double kTemperature = 2.0 / 3.0;
// Uniform draws this close to 0 or 1 would have infinite logits.
constexpr double kUniformMargin = 1e-4;

enum class Stream : uint64_t { kHardConcrete = 1, kDropout = 2 };

// splitmix64's mixing step: neighbouring seeds and steps end far apart.
uint64_t mix(uint64_t x) {
  x += 0x9e3779b97f4a7c15U;
  x = (x ^ (x >> 30U)) * 0xbf58476d1ce4e5b9U;
  x = (x ^ (x >> 27U)) * 0x94d049bb133111ebU;
  return x ^ (x >> 31U);
}

at::Tensor draw(
    const Noise& noise,
    Stream stream,
    at::IntArrayRef shape,
    const at::TensorOptions& options) {
  const uint64_t seed =
      mix(mix(mix(static_cast<uint64_t>(noise.seed)) +
              static_cast<uint64_t>(noise.step)) +
          static_cast<uint64_t>(stream));
  // A GPU need not be waited for: memory that is not pinned has been read when
  // the call returns.
  return at::rand(
             shape,
             at::detail::createCPUGenerator(seed),
             options.device(at::kCPU))
      .to(options.device(), /*non_blocking=*/true);
}

at::Tensor hard_concrete(const at::Tensor& masks, const Noise& noise) {
  at::Tensor u = noise.uniforms;
  if (u.defined()) {
    TORCH_CHECK(
        u.sizes() == masks.sizes() && u.device() == masks.device() &&
            u.dtype() == masks.dtype(),
        "expected uniforms ",
        masks.sizes(),
        " of ",
        masks.dtype(),
        " on ",
        masks.device(),
        ", got ",
        u.sizes(),
        " of ",
        u.dtype(),
        " on ",
        u.device());
  } else {
    u = draw(
        noise,
        Stream::kHardConcrete,
        masks.sizes(),
        masks.options().requires_grad(false));
  }
  u = at::clamp(u, kUniformMargin, 1 - kUniformMargin);
  const at::Tensor concrete =
      at::sigmoid((at::log(u) - at::log(1 - u) + masks) / kTemperature);
  // Cut to [0, 1]. Not at::clamp, whose gradient has no kernel for the meta
  // device.
  const at::Tensor stretched = concrete * (kRight - kLeft) + kLeft;
  return -at::threshold(-at::threshold(stretched, 0, 0), -1, -1);
}

} // namespace

at::Tensor mask_values(
    const at::Tensor& masks,
    bool batched,
    int64_t batch,
    const MaskTransform& transform) {
  TORCH_CHECK(
      transform.dropout >= 0 && transform.dropout < 1,
      "expected a mask dropout probability from 0 to below 1, got ",
      transform.dropout);
  const MemoryPartScope part(MemoryPart::kMasks);
  at::Tensor values = masks;
  switch (transform.fn) {
    case MaskFn::kNone:
      break;
    case MaskFn::kSigmoid:
      values = at::sigmoid(masks);
      break;
    case MaskFn::kHardConcrete: {
      std::vector<int64_t> shape = masks.sizes().vec();
      if (!batched) {
        shape.insert(shape.begin(), batch);
      }
      values = hard_concrete(masks.expand(shape), transform.noise);
      break;
    }
    default:
      TORCH_CHECK(
          false, "unknown mask function ", static_cast<int64_t>(transform.fn));
  }
  if (transform.dropout > 0) {
    const at::Tensor kept =
        draw(
            transform.noise,
            Stream::kDropout,
            values.sizes(),
            values.options().requires_grad(false)) >= transform.dropout;
    values = values * kept / (1 - transform.dropout);
  }
  return values;
}

std::optional<double> one_value(const at::Tensor& masks) {
  const at::Tensor first = masks.flatten()[0];
  return masks.eq(first).all().item<bool>()
      ? std::optional<double>(first.item<double>())
      : std::nullopt;
}

} // namespace autocircuit
