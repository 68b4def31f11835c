#pragma once

#include <ATen/core/Tensor.h>
#include <c10/util/ArrayRef.h>

#include <cstdint>

namespace autocircuit {

/// Position of a hook point in `Model::hook_names()`.
using HookId = int64_t;

/// What a model meets at its hook points during one forward pass. The model
/// says what it has there; whoever runs it may replace, record or read it.
///
/// Head dimensions come first here ([heads, batch, seq, d_model]), since that
/// is the layout of every GEMM around a hook; readers get TransformerLens's
/// [batch, seq, heads, d_model].
class Hooks {
 public:
  virtual ~Hooks() = default;

  /// Passes a residual-wide value [batch, seq, d_model] through a hook point
  /// and returns the value that the model goes on with.
  virtual at::Tensor visit(HookId hook, const at::Tensor& value) = 0;

  /// The inputs of the heads behind `modules`, [heads of all modules, batch,
  /// seq, d_model], where patching makes them differ from head to head;
  /// undefined where all heads read `resid` itself. `heads` tells readers how
  /// many each module has.
  virtual at::Tensor head_inputs(
      c10::ArrayRef<HookId> modules,
      c10::ArrayRef<int64_t> heads,
      const at::Tensor& resid) = 0;

  /// Whether anybody looks at this hook point.
  virtual bool wants(HookId hook) const = 0;

  /// Head outputs [heads, batch, seq, d_model] as `inputs` [heads, batch *
  /// seq, k] times `weights` [heads, k, d_model], computed only if wanted.
  virtual void head_outputs(
      HookId hook,
      const at::Tensor& inputs,
      const at::Tensor& weights,
      at::IntArrayRef shape) = 0;

  /// Head outputs that the model has at hand.
  virtual void head_outputs(HookId hook, const at::Tensor& value) = 0;

  /// Offers any other value, in TransformerLens's layout, to readers.
  virtual void read(HookId hook, const at::Tensor& value) = 0;
};

} // namespace autocircuit
