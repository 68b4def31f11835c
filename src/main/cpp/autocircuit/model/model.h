#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "autocircuit/model/backward_rules.h"
#include "autocircuit/model/context_positions.h"
#include "autocircuit/model/hooks.h"
#include "autocircuit/model/weights.h"

namespace autocircuit {

/// Positions whose output a caller wants.
enum class OutputSlice : int64_t { kAll = 0, kLastSeq = 1, kNotFirstSeq = 2 };

/// The wanted positions of a value [batch, seq, ...]; the last position alone
/// loses its dimension.
at::Tensor slice_positions(const at::Tensor& value, OutputSlice slice);

struct ModelInput {
  /// Tokens [batch, seq] (micro model: floats [batch, seq, d_model]); or, if
  /// is_resid, the residual stream [batch, seq, d_model] entering start_block.
  at::Tensor value;
  int64_t start_block = 0;
  bool is_resid = false;
  OutputSlice slice = OutputSlice::kAll;
  /// Undefined, or [batch, seq], integers or booleans: 0 for padding, which
  /// nobody sees. The positions of tokens count neither padding nor gaps.
  at::Tensor attention_mask = {};
  /// Keys and values of a frozen prefix that stands before the sequence; empty
  /// for none.
  PrefixCache prefix = {};
  /// For passes with gradients.
  BackwardRules rules = {};
  /// The tokens [1, tokens] of a step, and the sequences they belong to; then
  /// the output is logits [1, wanted tokens, d_vocab], and `slice`, mask and
  /// prefix are not read. nullptr: examples of one length.
  const PackedTokens* packed = nullptr;
};

/// The same prompts so many times, one after another.
ModelInput repeated(const ModelInput& input, int64_t times);

/// A part of a model that reads destinations and writes sources. What it writes
/// depends on nothing else.
struct ModelNode {
  std::vector<HookId> inputs = {};  // hook points of what it reads
  std::vector<HookId> outputs = {}; // and of what it writes
  /// Hook point of what it adds to the residual stream; -1: of nothing.
  HookId added = -1;
  /// Of heads: hook points of their queries, keys and values.
  std::vector<HookId> projections = {};
  /// Heads that run independently: of an input with R rows, head h reads row
  /// h * R / heads. 1: all or nothing.
  int64_t heads = 1;
  int64_t block = 0;
  double cost = 0; // multiplications for each token
};

/// Holds what is added to the residual stream at one place: outputs of sources,
/// and a constant that no source carries.
struct StreamPart {
  std::vector<HookId> sources = {}; // hook points of all that is put out
  HookId seen_from = 0;             // first hook point where the stream has it
  at::Tensor constant = {};         // [d_model]; undefined for none
};

/// A transformer, or what stands for one. Immutable after construction, so
/// any number of threads may run it; all that a pass needs beyond the weights
/// comes in as arguments.
class Model {
 public:
  virtual ~Model() = default;

  /// Runs the blocks from `input.start_block` on and returns the output at the
  /// wanted positions.
  virtual at::Tensor forward(const ModelInput& input, Hooks& hooks) const = 0;

  /// The attention patterns [batch, heads, seq, keys] of a block whose queries
  /// and keys read residual streams [batch, seq, d_model]. One of them may be
  /// of fewer examples, which are repeated. Of the input the context counts.
  virtual at::Tensor pattern(
      int64_t block,
      const at::Tensor& queries,
      const at::Tensor& keys,
      const ModelInput& input) const;

  /// Hook points in execution order.
  const std::vector<std::string>& hook_names() const {
    return hook_names_;
  }
  /// Throws if the name is unknown.
  HookId hook_id(const std::string& name) const;

  /// Its parts in execution order, from the embedding, which reads nothing, to
  /// the end, which writes nothing; none if it does not tell.
  const std::vector<ModelNode>& nodes() const {
    return nodes_;
  }

  /// All that the residual stream consists of, in the order of addition.
  const std::vector<StreamPart>& stream_parts() const {
    return stream_parts_;
  }

  /// Place in `nodes()` of the node that reads, writes or ends at a hook point;
  /// 0 for all others.
  size_t node_index(HookId hook) const {
    return node_at_[static_cast<size_t>(hook)];
  }
  const ModelNode& node_at(HookId hook) const {
    return nodes_[node_index(hook)];
  }
  /// Returns whether queries, keys or values of a node's heads are there.
  bool is_projection(HookId hook) const {
    return is_projection_[static_cast<size_t>(hook)];
  }

  int64_t n_layers() const {
    return n_layers_;
  }
  int64_t d_model() const {
    return d_model_;
  }
  const Weights& weights() const {
    return weights_;
  }
  const std::string& description() const {
    return description_;
  }
  at::TensorOptions options() const {
    return weights_.tensors()[0].options().requires_grad(false);
  }

  /// Returns whether hooks may ask for the last position only where it is all
  /// that counts; see Hooks::ends_at_last.
  virtual bool can_end_at_last() const {
    return false;
  }

  /// Returns whether the beginning of a sequence may be a prefix just as well.
  virtual bool can_begin_with_prefix() const {
    return false;
  }

  /// The shape of what a sequence keeps; none where no token can follow
  /// those that a model has seen.
  virtual std::optional<CacheShape> cache_shape() const {
    return std::nullopt;
  }

  /// Throws unless `input` has the type and shape that the model takes.
  void check_input(const ModelInput& input) const;

 protected:
  Model(
      std::string description,
      Weights weights,
      int64_t n_layers,
      int64_t d_model)
      : description_(std::move(description)),
        weights_(std::move(weights)),
        n_layers_(n_layers),
        d_model_(d_model) {}

  virtual void check_first_input(const ModelInput& input) const = 0;
  /// Checks the attention mask and the prefix.
  virtual void check_context(const ModelInput& input) const = 0;

  /// Called by constructors only.
  void set_structure(
      std::vector<std::string> hook_names,
      std::vector<ModelNode> nodes,
      std::vector<StreamPart> stream_parts);

 private:
  std::string description_;
  Weights weights_;
  int64_t n_layers_;
  int64_t d_model_;
  std::vector<std::string> hook_names_;
  std::vector<ModelNode> nodes_;
  std::vector<StreamPart> stream_parts_;
  std::vector<size_t> node_at_;     // by hook
  std::vector<bool> is_projection_; // by hook
};

/// Builds the model that `description` (see Description) names.
std::shared_ptr<const Model> make_model(
    const std::string& description,
    Weights weights);

/// The weights that `make_model` reads, in the order of a forward pass. Some
/// may be missing: the bias of the unembedding, and those of projections where
/// the description does not rule them out.
std::vector<WeightShape> weight_shapes(const std::string& description);

} // namespace autocircuit
