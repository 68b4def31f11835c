// Tests whether every fast executor agrees with the reference one.
#pragma once

#include "kinds.h"

namespace autocircuit::test {

enum class MaskKind {
  kZero,
  kOne,
  kUniform,
  kSparse,
  kCoSparse,
  kMixed,
  kRandom
};
constexpr MaskKind kMaskKinds[] = {
    MaskKind::kZero,
    MaskKind::kOne,
    MaskKind::kUniform,
    MaskKind::kSparse,
    MaskKind::kCoSparse,
    MaskKind::kMixed,
    MaskKind::kRandom};

at::Tensor masks_of(
    MaskKind kind,
    std::vector<int64_t> shape,
    const at::TensorOptions& options);

struct Tolerance {
  double relative;
  double absolute;
  /// In 16 bits, in place of both: every executor rounds differently there, and
  /// single values may be far off, so the error of all of them counts, as a
  /// share of their norm.
  double of_norm = 0;
};

Tolerance tolerance(at::ScalarType type);

void check_agree(
    const at::Tensor& actual,
    const at::Tensor& expected,
    Tolerance close);

/// Logits, source outputs and gradients of both executors; and logits of every
/// plan, for all positions and for the last.
void check_executors_agree(
    const Kind& kind,
    const ModelInput& input,
    const PatchContext& context,
    Tolerance close);

/// The same, of the kind's clean prompts.
void check_executors_agree(
    const Kind& kind,
    const PatchContext& context,
    Tolerance close);

} // namespace autocircuit::test
