#include "autocircuit/model/model.h"

#include <algorithm>

#include "autocircuit/model/description.h"
#include "autocircuit/model/micro_model.h"
#include "autocircuit/model/transformer.h"

namespace autocircuit {

at::Tensor slice_positions(const at::Tensor& value, OutputSlice slice) {
  switch (slice) {
    case OutputSlice::kAll:
      return value;
    case OutputSlice::kLastSeq:
      return value.select(1, -1);
    case OutputSlice::kNotFirstSeq:
      return value.slice(1, 1);
  }
  TORCH_CHECK(false, "unknown output slice ", static_cast<int64_t>(slice));
}

void Model::set_structure(
    std::vector<std::string> hook_names,
    std::vector<ModelNode> nodes,
    std::vector<StreamPart> stream_parts) {
  hook_names_ = std::move(hook_names);
  stream_parts_ = std::move(stream_parts);
  nodes_ = std::move(nodes);
  node_at_.assign(hook_names_.size(), 0);
  is_projection_.assign(hook_names_.size(), false);
  for (size_t i = 0; i < nodes_.size(); i++) {
    for (const HookId hook : nodes_[i].inputs) {
      node_at_[static_cast<size_t>(hook)] = i;
    }
    for (const HookId hook : nodes_[i].outputs) {
      node_at_[static_cast<size_t>(hook)] = i;
    }
    if (nodes_[i].added >= 0) {
      node_at_[static_cast<size_t>(nodes_[i].added)] = i;
    }
    for (const HookId hook : nodes_[i].projections) {
      is_projection_[static_cast<size_t>(hook)] = true;
    }
  }
}

HookId Model::hook_id(const std::string& name) const {
  const auto found = std::find(hook_names_.begin(), hook_names_.end(), name);
  TORCH_CHECK(
      found != hook_names_.end(), "the model has no hook point '", name, "'");
  return found - hook_names_.begin();
}

ModelInput repeated(const ModelInput& input, int64_t times) {
  if (times == 1) {
    return input;
  }
  const auto repeat = [&](const at::Tensor& x) {
    std::vector<int64_t> repeats(static_cast<size_t>(x.dim()), 1);
    repeats[0] = times;
    return x.repeat(repeats);
  };
  ModelInput all = input;
  all.value = repeat(input.value);
  if (input.attention_mask.defined()) {
    all.attention_mask = repeat(input.attention_mask);
  }
  for (std::vector<at::Tensor>* entries :
       {&all.prefix.keys, &all.prefix.values}) {
    for (at::Tensor& entry : *entries) {
      entry = entry.size(0) == 1 ? entry : repeat(entry);
    }
  }
  return all;
}

at::Tensor Model::pattern(
    int64_t block,
    const at::Tensor& queries,
    const at::Tensor& keys,
    const ModelInput& input) const {
  (void)queries;
  (void)keys;
  (void)input;
  TORCH_CHECK(false, "block ", block, " of this model has no attention");
}

void Model::check_input(const ModelInput& input) const {
  TORCH_CHECK(input.value.defined(), "the model's input is undefined");
  TORCH_CHECK(
      input.start_block >= 0 && input.start_block < n_layers_,
      "expected a block to start at from 0 to ",
      n_layers_ - 1,
      ", got ",
      input.start_block);
  TORCH_CHECK(
      input.value.device() == options().device(),
      "expected input on ",
      options().device(),
      " like the weights, got ",
      input.value.device());
  TORCH_CHECK(
      input.value.dim() >= 2 && input.value.size(0) > 0 &&
          input.value.size(1) > 0,
      "expected input with at least one example and one position, got shape ",
      input.value.sizes());
  check_context(input);
  if (!input.is_resid) {
    TORCH_CHECK(
        input.start_block == 0,
        "block ",
        input.start_block,
        " reads the residual stream, not the model's input");
    check_first_input(input);
    return;
  }
  TORCH_CHECK(
      input.value.dim() == 3 && input.value.size(2) == d_model_ &&
          input.value.dtype() == options().dtype(),
      "expected a residual stream [batch, seq, ",
      d_model_,
      "] of ",
      options().dtype(),
      ", got ",
      input.value.sizes(),
      " of ",
      input.value.dtype());
}

std::shared_ptr<const Model> make_model(
    const std::string& description,
    Weights weights) {
  const std::string kind = Description(description).text("kind");
  if (kind == "transformer") {
    return std::make_shared<Transformer>(description, std::move(weights));
  }
  if (kind == "micro") {
    return std::make_shared<MicroModel>(description, std::move(weights));
  }
  TORCH_CHECK(false, "expected kind transformer or micro, got '", kind, "'");
}

std::vector<WeightShape> weight_shapes(const std::string& description) {
  const auto list = std::make_shared<std::vector<WeightShape>>();
  make_model(description, Weights::listed_in(list));
  return *list;
}

} // namespace autocircuit
