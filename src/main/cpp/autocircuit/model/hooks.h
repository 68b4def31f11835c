#pragma once

#include <ATen/core/Tensor.h>
#include <c10/util/ArrayRef.h>

#include <cstdint>
#include <optional>
#include <vector>

namespace autocircuit {

/// Position of a hook point in `Model::hook_names()`.
using HookId = int64_t;

class Norm;

/// Queries, keys and values before their rotation, after their norms.
struct Projections {
  at::Tensor q; // [batch, seq, heads, d_head]
  at::Tensor k; // [batch, seq, key/value heads or heads, d_head]
  at::Tensor v;
};

/// Which of a module's inputs a row is.
struct HeadRow {
  int64_t module; // 0: q, 1: k, 2: v
  int64_t head;
  int64_t heads; // that the module has
};

/// The heads of a block that run, and what only some of them read.
struct SomeHeads {
  std::vector<int64_t> live = {}; // in order
  std::vector<HeadRow> rows = {};
  /// Projections of the inputs without a row; undefined: those the residual
  /// stream gives.
  std::optional<Projections> others = std::nullopt;
};

/// Holds what the heads of a block read where patching makes that differ from
/// what the residual stream holds. Plain data in one of six shapes; what is
/// not named is left as it is here:
///
///   (nothing)      All heads read the residual stream.
///   rows           All heads read the same [batch, seq, d_model].
///   rows           Each row of each module its own: [batch, seq, rows,
///                  d_model], those of one module after those of another.
///   rows           The same for the last positions alone: [batch, some
///                  positions, rows, d_model]; the heads of those before them
///                  read the residual stream.
///   rows, queries  As in the third, where only the last position counts behind
///                  the queries: those of the first module [batch, 1, heads,
///                  d_model], and in `rows` those of the other modules.
///   some           The heads `some.live` run, and no others. Of what they
///                  read, `rows` has `some.rows` [batch, seq, rows, d_model],
///                  or is undefined if it lists nothing; all else is the
///                  residual stream, or, where they are given, it has the
///                  projections `some.others`.
///
/// Hooks that do not choose heads or positions need the first and the third;
/// the fourth is for packed tokens.
struct HeadInputs {
  at::Tensor rows = {};
  at::Tensor queries = {};
  bool normed = false; // whether the norm was applied to rows and queries
  std::optional<SomeHeads> some = std::nullopt;
};

/// Says what a model meets at its hook points during one forward pass. The
/// model says what it has there; whoever runs it may replace, record or read
/// it.
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

  /// Returns whether anybody looks at this hook point.
  virtual bool wants(HookId hook) const = 0;

  /// Returns whether the module that ends at this hook point has to run.
  virtual bool runs(HookId hook) const {
    (void)hook;
    return true;
  }

  /// Returns whether only the last position counts where the last block's
  /// queries have looked back: the rest of that block may then run for that one
  /// alone.
  virtual bool ends_at_last() const {
    return false;
  }

  /// Returns whether no bit of what a token computes may depend on the tokens
  /// beside it, on their number or on the number of threads.
  virtual bool tokens_are_apart() const {
    return false;
  }

  /// Returns what a module adds to the residual stream that does not run:
  /// undefined if nobody knows.
  virtual at::Tensor skipped(HookId hook) const {
    (void)hook;
    return {};
  }

  /// Returns whether anybody reads the residual stream itself. If not, it may
  /// be an undefined tensor.
  virtual bool needs_resid() const {
    return true;
  }

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
  virtual void read(HookId hook, const at::Tensor& value) {
    (void)hook;
    (void)value;
  }
};

} // namespace autocircuit
