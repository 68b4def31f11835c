#include "autocircuit/model/micro_model.h"

#include "autocircuit/model/description.h"

namespace autocircuit {

namespace {

// Hook points: the input, three for each block, the output.
constexpr HookId kInput = 0;
constexpr int64_t kHooksPerBlock = 3;

HookId block_hook(int64_t block, int64_t hook) {
  return kInput + 1 + block * kHooksPerBlock + hook;
}

} // namespace

MicroModel::MicroModel(const std::string& description, Weights weights)
    : Model(
          description,
          std::move(weights),
          Description(description).size("n_layers"),
          Description(description).size("d_model")) {
  const int64_t heads = Description(description).size("n_heads");
  std::vector<std::string> hooks{"input"};
  std::vector<StreamPart> parts{{.sources = {kInput}, .seen_from = kInput}};
  for (int64_t n = 0; n < n_layers(); n++) {
    const std::string block = "blocks." + std::to_string(n) + ".";
    block_weights_.push_back(
        this->weights().get(block + "weights", {heads, d_model()}));
    hooks.insert(
        hooks.end(),
        {block + "head_inputs",
         block + "head_outputs",
         "resids." + std::to_string(n)});
    parts.push_back(
        {.sources = {block_hook(n, 1)}, .seen_from = block_hook(n, 2)});
  }
  hooks.emplace_back("output");
  set_structure(std::move(hooks), {}, std::move(parts));
}

void MicroModel::check_first_input(const ModelInput& input) const {
  const at::Tensor& value = input.value;
  TORCH_CHECK(
      value.dim() == 3 && value.size(2) == d_model() &&
          value.dtype() == options().dtype(),
      "expected input [batch, seq, ",
      d_model(),
      "] of ",
      options().dtype(),
      ", got ",
      value.sizes(),
      " of ",
      value.dtype());
}

void MicroModel::check_context(const ModelInput& input) const {
  TORCH_CHECK(
      !input.attention_mask.defined() && input.prefix.empty(),
      "a micro model has no attention: expected neither a mask nor a prefix");
}

at::Tensor MicroModel::forward(const ModelInput& input, Hooks& hooks) const {
  at::Tensor resid = input.start_block == 0
      ? hooks.visit(kInput, input.value)
      : input.value; // [batch, seq, d_model]
  for (int64_t n = input.start_block; n < n_layers(); n++) {
    const at::Tensor& w = block_weights_[static_cast<size_t>(n)];
    const HeadInputs in =
        hooks.head_inputs({block_hook(n, 0)}, {w.size(0)}, resid, nullptr);
    const at::Tensor out = (in.rows.defined() ? in.rows : resid.unsqueeze(2)) *
        w; // [batch, seq, heads, d_model]
    hooks.head_outputs(block_hook(n, 1), out);
    resid = resid + out.sum(2);
    if (n + 1 < n_layers()) {
      resid = hooks.visit(block_hook(n, 2), resid);
    }
  }
  resid = hooks.visit(block_hook(n_layers(), 0), resid);
  return slice_positions(resid, input.slice);
}

} // namespace autocircuit
