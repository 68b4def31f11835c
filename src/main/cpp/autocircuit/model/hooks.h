#pragma once

#include <ATen/core/Tensor.h>
#include <c10/util/ArrayRef.h>

#include <cstdint>

namespace autocircuit {

/// Position of a hook point in `Model::hook_names()`.
using HookId = int64_t;

class Norm;

/// What the heads of a block read where patching makes that differ from head to
/// head.
struct HeadInputs {
  at::Tensor rows;     // [batch, seq, heads of all modules, d_model]
  bool normed = false; // whether the norm was applied
};

/// What a model meets at its hook points during one forward pass. The model
/// says what it has there; whoever runs it may replace, record or read it.
class Hooks {
 public:
  virtual ~Hooks() = default;

  /// Passes a residual-wide value [batch, seq, d_model] through a hook point
  /// and returns the value that the model goes on with.
  virtual at::Tensor visit(HookId hook, const at::Tensor& value) = 0;

  /// The inputs of the heads behind `modules`; undefined rows where all heads
  /// read `resid` itself. `heads` tells readers how many each module has. The
  /// hooks may apply `norm`, which may be nullptr, on the way.
  virtual HeadInputs head_inputs(
      c10::ArrayRef<HookId> modules,
      c10::ArrayRef<int64_t> heads,
      const at::Tensor& resid,
      const Norm* norm) = 0;

  /// Whether anybody looks at this hook point.
  virtual bool wants(HookId hook) const = 0;

  /// Head outputs as z [batch, seq, heads, k] times `weights` [heads, k,
  /// d_model], computed only if wanted. Returns their sum [batch, seq, d_model]
  /// if that came along, or an undefined tensor.
  virtual at::Tensor head_outputs(
      HookId hook,
      const at::Tensor& z,
      const at::Tensor& weights) = 0;

  /// Head outputs [batch, seq, heads, d_model] that the model has at hand.
  virtual void head_outputs(HookId hook, const at::Tensor& value) = 0;

  /// Offers any other value, in TransformerLens's layout, to readers.
  virtual void read(HookId hook, const at::Tensor& value) = 0;
};

} // namespace autocircuit
