#include "autocircuit/engine/step.h"

#include <ATen/core/grad_mode.h>
#include <ATen/ops/cat.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/index_select.h>
#include <ATen/ops/sub.h>
#include <ATen/ops/tensor.h>

#include <algorithm>
#include <map>
#include <optional>
#include <utility>

#include "autocircuit/engine/dest_rows.h"
#include "autocircuit/engine/fully_patched.h"
#include "autocircuit/engine/step_places.h"
#include "autocircuit/ops/head_product.h"

namespace autocircuit {

namespace {

struct Stopped {};

class StepRun final : public Hooks {
 public:
  StepRun(
      const PatchableModel& model,
      const StepRequest& request,
      const Places& places)
      : model_(model),
        request_(request),
        places_(places),
        groups_(mixed_together(places)) {
    const int64_t n = places.patched_tokens();
    if (n > 0) {
      delta_ = at::empty(
          {1, n, model.n_srcs(), model.model().d_model()},
          model.model().options());
    }
    for (const Placed& p : places.patched()) {
      if (p.donor == nullptr) {
        constants_.try_emplace(
            p.chunk->constant.unsafeGetTensorImpl(), model, p.chunk->constant);
      }
    }
    for (const std::string& name : request.reads) {
      reads_.push_back(model.model().hook_id(name));
    }
    values_.resize(reads_.size());
    const at::Device device = model.model().options().device();
    read_tokens_ =
        at::tensor(last_tokens(places, &StepChunk::wants_reads), at::kLong)
            .to(device);
    read_logits_ = at::tensor(read_among_wanted(request), at::kLong).to(device);
    for (const StepAddition& addition : request.added) {
      added_at_.push_back(model.model().hook_id(addition.hook));
    }
    added_.resize(added_at_.size());
  }

  at::Tensor visit(HookId hook, const at::Tensor& value) override {
    at::Tensor x = value;
    const PatchWrapper* dest = model_.wrapper(hook);
    if (is_patched() && dest != nullptr && dest->is_dest()) {
      x = at::cat(
          {x.narrow(1, 0, places_.patched_from()),
           rows({dest}, x, /*norm=*/nullptr).squeeze(2)},
          1);
    }
    if (const PatchWrapper* w = recorded(hook)) {
      w->check_sources(1);
      record(w->src_start, of_donors_and_patched(x).unsqueeze(2));
    }
    read(hook, x);
    return steered(hook, x);
  }

  HeadInputs head_inputs(
      c10::ArrayRef<HookId> modules,
      c10::ArrayRef<int64_t> heads,
      const at::Tensor& resid,
      const Norm* norm) override {
    (void)heads;
    stop_if_asked();
    if (!is_patched()) {
      return {};
    }
    return all_head_inputs(
        model_,
        modules,
        resid,
        norm,
        /*ends_at_last=*/false,
        [&](const auto& wrappers, const at::Tensor& x) {
          return rows(wrappers, x, norm);
        });
  }

  bool wants(HookId hook) const override {
    return recorded(hook) != nullptr || is_read(hook);
  }

  bool tokens_are_apart() const override {
    return true;
  }

  at::Tensor head_outputs(
      HookId hook,
      const at::Tensor& z,
      const at::Tensor& weights) override {
    if (const PatchWrapper* w = recorded(hook)) {
      w->check_sources(z.size(2));
      record(w->src_start, head_product(of_donors_and_patched(z), weights));
    }
    if (is_read(hook)) {
      keep(hook, head_product(z.index_select(1, read_tokens_), weights));
    }
    return {};
  }

  void head_outputs(HookId hook, const at::Tensor& value) override {
    if (const PatchWrapper* w = recorded(hook)) {
      w->check_sources(value.size(2));
      record(w->src_start, of_donors_and_patched(value));
    }
    read(hook, value);
  }

  void read(HookId hook, const at::Tensor& value) override {
    if (!is_read(hook)) {
      return;
    }
    // Behind the last block there are only tokens whose logits are wanted.
    const bool at_end = hook > model_.model().nodes().back().inputs[0];
    TORCH_CHECK(
        !at_end || read_logits_.size(0) == read_tokens_.size(0),
        model_.model().hook_names()[static_cast<size_t>(hook)],
        ": is read where logits are wanted");
    keep(hook, value.index_select(1, at_end ? read_logits_ : read_tokens_));
  }

  std::vector<at::Tensor> values() const {
    const auto& names = request_.reads;
    for (size_t i = 0; i < names.size(); i++) {
      TORCH_CHECK(
          values_[i].defined(),
          names[i],
          ": expected a hook point with a value for each token that a step "
          "comes by; queries, keys, scores and patterns are read by passes");
    }
    for (size_t i = 0; i < added_.size(); i++) {
      TORCH_CHECK(
          added_[i],
          request_.added[i].hook,
          ": expected a hook point where a step has a value [tokens, d_model] "
          "to add to");
    }
    return values_;
  }

 private:
  bool is_patched() const {
    return delta_.defined();
  }
  /// The wrapper of sources at a hook point that some token is patched with, or
  /// nullptr.
  const PatchWrapper* recorded(HookId hook) const {
    const PatchWrapper* w = model_.wrapper(hook);
    return is_patched() && w != nullptr && w->is_src() ? w : nullptr;
  }
  bool is_read(HookId hook) const {
    return std::find(reads_.begin(), reads_.end(), hook) != reads_.end();
  }
  void keep(HookId hook, const at::Tensor& values) {
    for (size_t i = 0; i < reads_.size(); i++) {
      if (reads_[i] == hook) {
        values_[i] = values.squeeze(0).clone();
      }
    }
  }
  void stop_if_asked() const {
    if (request_.stop != nullptr && *request_.stop != 0) {
      throw Stopped{};
    }
  }

  at::Tensor of_donors_and_patched(const at::Tensor& x) const {
    return x.narrow(
        1, places_.donors_from(), places_.tokens() - places_.donors_from());
  }

  at::Tensor steered(HookId hook, const at::Tensor& value) {
    at::Tensor x = value;
    for (size_t i = 0; i < added_at_.size(); i++) {
      if (added_at_[i] != hook) {
        continue;
      }
      x = added_[i] || x.is_same(value) ? x.clone() : x;
      added_[i] = true;
      const StepAddition& addition = request_.added[i];
      for (const Placed& p : places_.all()) {
        if (p.index == addition.chunk) {
          x.narrow(1, p.first, p.chunk->tokens).add_(addition.value);
        }
      }
    }
    return x;
  }

  /// Source activations of a chunk: [1, tokens or 1, n, d_model].
  at::Tensor constant_of(const Placed& p, int64_t start, int64_t n) const {
    const at::Tensor sources =
        p.chunk->constant.narrow(0, start, n).permute({1, 2, 0, 3});
    return sources.size(1) == 1
        ? sources
        : sources.narrow(1, p.chunk->position, p.chunk->tokens);
  }

  /// outputs: of donors and patched tokens [1, tokens, n, d_model].
  void record(int64_t start, const at::Tensor& outputs) {
    const int64_t n = outputs.size(2);
    const int64_t from = places_.donors_from();
    const at::ArrayRef<Placed> patched = places_.patched();
    for (size_t i = 0; i < patched.size();) {
      const Placed& p = patched[i];
      int64_t tokens = 0;
      do { // those that go on as one
        tokens += patched[i++].chunk->tokens;
      } while (i < patched.size() && goes_on(patched[i - 1], patched[i]));
      at::Tensor to = delta_.narrow(1, p.first - places_.patched_from(), tokens)
                          .narrow(2, start, n);
      at::sub_out(
          to,
          p.donor != nullptr ? outputs.narrow(1, p.donor->first - from, tokens)
                             : constant_of(p, start, n),
          outputs.narrow(1, p.first - from, tokens));
    }
  }

  static bool goes_on(const Placed& a, const Placed& b) {
    if (a.donor != nullptr && b.donor != nullptr) {
      return b.donor->first == a.donor->first + a.chunk->tokens;
    }
    return a.donor == nullptr && b.donor == nullptr &&
        a.chunk->constant.is_same(b.chunk->constant) &&
        a.chunk->constant.size(2) == 1;
  }

  /// The inputs of patched tokens at destinations: [1, tokens, rows, d_model].
  /// resid: of all tokens.
  at::Tensor rows(
      const std::vector<const PatchWrapper*>& wrappers,
      const at::Tensor& resid,
      const Norm* norm) {
    std::vector<at::Tensor> parts;
    for (const MixedTogether& group : groups_) {
      const Placed& first = *group.chunks[0];
      RowBases bases{
          .stream = resid.narrow(
              1, places_.patched_from() + group.first, group.tokens)};
      const StepMasks& masks = *first.chunk->masks;
      // Patching leaves what was added to the stream, which is no source's.
      if (!first.steered && masks.patches(wrappers) &&
          model_.reads_only_sources(*wrappers[0])) {
        bases.patched = patched_inputs(group, *wrappers[0], resid);
      }
      parts.push_back(masks.rows(
          wrappers,
          bases,
          delta_.narrow(1, group.first, group.tokens),
          first.chunk->position,
          norm));
    }
    return parts.size() == 1 ? parts[0] : at::cat(parts, 1);
  }

  /// The inputs of fully patched tokens: constant + sum of the patches, for a
  /// donor's its own stream.
  at::Tensor patched_inputs(
      const MixedTogether& group,
      const PatchWrapper& dest,
      const at::Tensor& resid) {
    std::vector<at::Tensor> parts;
    for (const Placed* p : group.chunks) {
      const int64_t tokens = p->chunk->tokens;
      if (p->donor != nullptr) {
        parts.push_back(resid.narrow(1, p->donor->first, tokens));
        continue;
      }
      const at::Tensor& constant = p->chunk->constant;
      const at::Tensor input = constants_.at(constant.unsafeGetTensorImpl())
                                   .input(dest, constant.size(2));
      parts.push_back(
          input.size(1) == 1 ? input.expand({1, tokens, -1})
                             : input.narrow(1, p->chunk->position, tokens));
    }
    return parts.size() == 1 ? parts[0] : at::cat(parts, 1);
  }

  const PatchableModel& model_;
  const StepRequest& request_;
  const Places& places_;
  std::vector<MixedTogether> groups_;
  at::Tensor delta_; // [1, patched tokens, n_srcs, d_model]
  std::map<const c10::TensorImpl*, FullyPatched> constants_;
  std::vector<HookId> reads_;
  std::vector<at::Tensor> values_;
  at::Tensor read_tokens_; // of those whose chunks want values
  at::Tensor read_logits_; // the same among those that want logits
  std::vector<HookId> added_at_;
  std::vector<bool> added_; // whether the pass came by
};

} // namespace

StepResult step(const PatchableModel& model, const StepRequest& request) {
  const at::NoGradGuard no_grad;
  std::vector<SequenceLease> leases;
  leases.reserve(request.chunks.size());
  for (const StepChunk& chunk : request.chunks) {
    leases.emplace_back(chunk.sequence);
  }
  check_step(model, request);
  const Places places(request);
  const PackedTokens packed = packed_tokens(model, places);
  const ModelInput input{
      .value = in_order(request.tokens, places), .packed = &packed};
  model.model().check_input(input);
  StepRun run(model, request, places);
  StepResult result;
  try {
    result.logits = model.model().forward(input, run).squeeze(0);
  } catch (const Stopped&) {
    return {.stopped = true};
  }
  result.reads = run.values();
  for (const StepChunk& chunk : request.chunks) {
    chunk.sequence->commit(chunk.position + chunk.tokens);
  }
  return result;
}

} // namespace autocircuit
