#include "autocircuit/engine/adding_hooks.h"

#include "autocircuit/engine/pass_end.h"

namespace autocircuit {

namespace {

/// Leaves all to other hooks, and adds to what they return.
class AddingHooks final : public Hooks {
 public:
  AddingHooks(
      const Model& model,
      Hooks& hooks,
      const std::vector<Addition>& additions)
      : hooks_(hooks), additions_(additions) {
    for (const Addition& addition : additions) {
      places_.push_back(model.hook_id(addition.hook));
    }
  }

  at::Tensor visit(HookId hook, const at::Tensor& value) override {
    at::Tensor x = hooks_.visit(hook, value);
    for (size_t i = 0; i < places_.size(); i++) {
      if (places_[i] == hook) {
        const at::Tensor& added = additions_[i].value;
        x = x + (added.size(1) == 1 ? added : last_positions(added, x.size(1)));
        done_++;
      }
    }
    return x;
  }

  HeadInputs head_inputs(
      c10::ArrayRef<HookId> modules,
      c10::ArrayRef<int64_t> heads,
      const at::Tensor& resid,
      const Norm* norm) override {
    return hooks_.head_inputs(modules, heads, resid, norm);
  }
  bool wants(HookId hook) const override {
    return hooks_.wants(hook);
  }
  bool ends_at_last() const override {
    return hooks_.ends_at_last();
  }
  at::Tensor head_outputs(
      HookId hook,
      const at::Tensor& z,
      const at::Tensor& weights) override {
    return hooks_.head_outputs(hook, z, weights);
  }
  void head_outputs(HookId hook, const at::Tensor& value) override {
    hooks_.head_outputs(hook, value);
  }
  void read(HookId hook, const at::Tensor& value) override {
    hooks_.read(hook, value);
  }

  void check_all_done(const Model& model) const {
    if (done_ == additions_.size()) {
      return;
    }
    // Which one is not known where several share a hook point, so name all.
    std::string names;
    for (const HookId hook : places_) {
      names += ' ' + model.hook_names()[static_cast<size_t>(hook)];
    }
    TORCH_CHECK(
        false,
        "expected hook points where the pass has a value [batch, seq, d_model]"
        " to add to, got",
        names);
  }

 private:
  Hooks& hooks_;
  const std::vector<Addition>& additions_;
  std::vector<HookId> places_;
  size_t done_ = 0;
};

} // namespace

void check_additions(
    const Model& model,
    const std::vector<Addition>& additions,
    int64_t batch,
    int64_t seq) {
  const at::TensorOptions options = model.options();
  const std::vector<int64_t> whole{batch, seq, model.d_model()};
  for (const Addition& addition : additions) {
    model.hook_id(addition.hook);
    const at::Tensor& value = addition.value;
    TORCH_CHECK(
        value.defined() && value.dtype() == options.dtype() &&
            value.device() == options.device(),
        addition.hook,
        ": expected what is added there of ",
        options.dtype(),
        " on ",
        options.device(),
        " to fit the weights");
    bool fits = value.dim() == 3;
    for (size_t i = 0; fits && i < 3; i++) {
      fits = value.sizes()[i] == whole[i] || (i < 2 && value.sizes()[i] == 1);
    }
    TORCH_CHECK(
        fits,
        addition.hook,
        ": expected something to add of [batch or 1, seq or 1, d_model] = ",
        at::IntArrayRef(whole),
        ", got ",
        value.sizes());
  }
}

at::Tensor forward_adding(
    const Model& model,
    const ModelInput& input,
    Hooks& hooks,
    const std::vector<Addition>& additions) {
  if (additions.empty()) {
    return model.forward(input, hooks);
  }
  AddingHooks adding(model, hooks, additions);
  at::Tensor result = model.forward(input, adding);
  adding.check_all_done(model);
  return result;
}

} // namespace autocircuit
