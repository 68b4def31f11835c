#include "steps.h"

#include <algorithm>
#include <set>

#include "autocircuit/engine/forward.h"
#include "autocircuit/engine/source_ablations.h"
#include "autocircuit/model/precision.h"

namespace autocircuit::test {

Generation::Generation(
    const PatchableModel& model,
    std::vector<Generated> requests)
    : model_(model), requests_(std::move(requests)), logits_(requests_.size()) {
  for (const Generated& r : requests_) {
    const int64_t capacity = r.tokens.size(1);
    masks_.push_back(
        r.masks.defined() ? std::make_shared<StepMasks>(model, r.masks)
                          : nullptr);
    sequences_.push_back(new_sequence(model, capacity, r.masks.defined()));
    donors_.push_back(
        r.corrupt.defined() ? new_sequence(model, capacity, false) : nullptr);
  }
}

void Generation::step(
    const std::vector<int64_t>& tokens,
    const std::vector<std::string>& reads) {
  StepRequest step;
  step.reads = reads;
  std::vector<at::Tensor> parts;
  std::vector<size_t> wanted;
  for (size_t i = 0; i < requests_.size(); i++) {
    const Generated& r = requests_[i];
    const int64_t n = tokens[i];
    if (n == 0) {
      continue;
    }
    const int64_t position = sequences_[i]->length();
    const auto index = static_cast<int64_t>(step.chunks.size());
    step.chunks.push_back(
        {.sequence = sequences_[i],
         .position = position,
         .tokens = n,
         .wants_logits = true,
         .wants_reads = true,
         .donor = donors_[i] != nullptr ? index + 1 : -1,
         .constant = r.constant,
         .masks = masks_[i]});
    parts.push_back(r.tokens.narrow(1, position, n));
    wanted.push_back(i);
    for (StepAddition addition : r.added) {
      addition.chunk = index;
      step.added.push_back(addition);
    }
    if (donors_[i] != nullptr) {
      step.chunks.push_back(
          {.sequence = donors_[i], .position = position, .tokens = n});
      parts.push_back(r.corrupt.narrow(1, position, n));
    }
  }
  step.tokens = at::cat(parts, 1);
  const StepResult result = autocircuit::step(model_, step);
  for (size_t i = 0; i < wanted.size(); i++) {
    logits_[wanted[i]].emplace_back(
        sequences_[wanted[i]]->length(),
        result.logits[static_cast<int64_t>(i)]);
  }
  reads_ = result.reads;
}

void Generation::run(int64_t prompt, int64_t chunk, bool apart) {
  const auto next = [&](size_t i) {
    const int64_t left = requests_[i].tokens.size(1) - sequences_[i]->length();
    const int64_t of_prompt = prompt - sequences_[i]->length();
    return std::min(left, of_prompt > 0 ? std::min(of_prompt, chunk) : 1);
  };
  const size_t n = requests_.size();
  for (size_t first = 0; first < (apart ? n : 1); first++) {
    while (true) {
      std::vector<int64_t> tokens(n);
      for (size_t i = first; i < (apart ? first + 1 : n); i++) {
        tokens[i] = next(i);
      }
      if (std::all_of(
              tokens.begin(), tokens.end(), [](int64_t t) { return t == 0; })) {
        break;
      }
      step(tokens);
    }
  }
}

at::Tensor uncached(
    const PatchableModel& model,
    const Generated& request,
    int64_t length) {
  ForwardRequest forward;
  forward.policy = PlanPolicy::kReference;
  forward.input = {
      .value = request.tokens.narrow(1, 0, length),
      .slice = OutputSlice::kLastSeq};
  for (const StepAddition& addition : request.added) {
    forward.added.push_back({addition.hook, addition.value});
  }
  PatchContext context;
  context.masks = request.masks;
  if (request.masks.defined()) {
    context.patch_src_outs = request.corrupt.defined()
        ? source_ablations(
              model,
              {.value = request.corrupt.narrow(1, 0, length)},
              BatchAblation::kResample)
        : request.constant
              .narrow(2, 0, std::min<int64_t>(request.constant.size(2), length))
              .expand({-1, -1, length, -1});
    forward.context = &context;
  }
  return autocircuit::forward(model, forward).logits.squeeze(0);
}

std::vector<Generated> some_requests(const PatchableModel& model, int64_t all) {
  const at::TensorOptions options = model.model().options();
  const int64_t vocab =
      model.model().weights().tensors()[0].size(0); // of the embedding
  const auto tokens = [&] {
    return to_device(at::randint(vocab, {1, all}, at::kLong));
  };
  const at::ScalarType sums =
      accumulation_type(c10::typeMetaToScalarType(options.dtype()));
  const auto random = [&](at::IntArrayRef shape, at::ScalarType type) {
    return to_device(at::rand(shape, at::kDouble).to(type));
  };
  const at::Tensor dense = random({model.n_masks()}, sums);
  const at::Tensor chosen = random({model.n_masks()}, sums);
  const at::ScalarType type = c10::typeMetaToScalarType(options.dtype());
  const at::Tensor constant =
      random({model.n_srcs(), 1, 1, model.model().d_model()}, type);
  const at::Tensor by_position =
      random({model.n_srcs(), 1, all, model.model().d_model()}, type);
  std::vector<Generated> requests;
  requests.push_back({.tokens = tokens()});
  requests.push_back({.tokens = tokens(), .corrupt = tokens(), .masks = dense});
  requests.push_back(
      {.tokens = tokens(),
       .corrupt = tokens(),
       .masks = chosen.gt(0.1).to(sums)}); // nearly all patched
  requests.push_back(
      {.tokens = tokens(), .constant = constant, .masks = dense});
  requests.push_back(
      {.tokens = tokens(),
       .constant = constant,
       .masks = dense * chosen.lt(0.1).to(sums)});
  requests.push_back(
      {.tokens = tokens(), .constant = by_position, .masks = chosen});
  requests.push_back(
      {.tokens = tokens(), .corrupt = tokens(), .masks = at::ones_like(dense)});
  return requests;
}

} // namespace autocircuit::test
