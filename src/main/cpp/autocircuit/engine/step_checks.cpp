#include <algorithm>
#include <optional>

#include "autocircuit/engine/adding_hooks.h"
#include "autocircuit/engine/step.h"

namespace autocircuit {

namespace {

CacheShape sequence_shape(const PatchableModel& model, bool patched) {
  std::optional<CacheShape> shape = model.model().cache_shape();
  TORCH_CHECK(
      shape.has_value(),
      "this model has no keys and values that a sequence could keep, or "
      "latents that belong to positions");
  if (patched) {
    for (const PatchWrapper& w : model.wrappers()) {
      if (w.is_dest() && w.rows == shape->heads &&
          !w.module.ends_with("hook_q_input")) {
        shape->kv_heads = shape->heads;
      }
    }
  }
  return *shape;
}

void check_patch(
    const PatchableModel& model,
    const std::vector<StepChunk>& chunks,
    size_t index) {
  const StepChunk& chunk = chunks[index];
  TORCH_CHECK(
      chunk.masks->model_id() == model.id(),
      "chunk ",
      index,
      ": its masks are for another model or graph");
  const int64_t seq_len = chunk.masks->seq_len();
  TORCH_CHECK(
      seq_len == 0 || chunk.position + chunk.tokens <= seq_len,
      "chunk ",
      index,
      ": its masks are for ",
      seq_len,
      " positions, got tokens at positions ",
      chunk.position,
      " to ",
      chunk.position + chunk.tokens - 1);
  if (chunk.donor < 0) {
    const at::Tensor& constant = chunk.constant;
    const int64_t d_model = model.model().d_model();
    TORCH_CHECK(
        constant.defined() && constant.dim() == 4 &&
            constant.size(0) == model.n_srcs() && constant.size(1) == 1 &&
            constant.size(3) == d_model &&
            (constant.size(2) == 1 ||
             chunk.position + chunk.tokens <= constant.size(2)) &&
            constant.dtype() == model.model().options().dtype() &&
            constant.device() == model.model().options().device(),
        "chunk ",
        index,
        ": expected a donor, or constant source activations [",
        model.n_srcs(),
        ", 1, 1 or at least ",
        chunk.position + chunk.tokens,
        ", ",
        d_model,
        "] of the model's type and device, got ",
        constant.defined() ? constant.sizes() : at::IntArrayRef());
    return;
  }
  TORCH_CHECK(
      chunk.donor < static_cast<int64_t>(chunks.size()),
      "chunk ",
      index,
      ": expected a donor from 0 to ",
      chunks.size() - 1,
      ", got ",
      chunk.donor);
  const StepChunk& donor = chunks[static_cast<size_t>(chunk.donor)];
  TORCH_CHECK(
      donor.masks == nullptr && donor.tokens == chunk.tokens &&
          donor.position == chunk.position,
      "chunk ",
      index,
      ": expected a plain donor with ",
      chunk.tokens,
      " tokens from position ",
      chunk.position,
      " on, got ",
      donor.masks == nullptr ? "one with " : "a patched one with ",
      donor.tokens,
      " from ",
      donor.position,
      " on");
}

void check_chunks(const PatchableModel& model, const StepRequest& request) {
  const CacheShape patched = sequence_shape(model, /*patched=*/true);
  int64_t tokens = 0;
  for (size_t i = 0; i < request.chunks.size(); i++) {
    const StepChunk& chunk = request.chunks[i];
    const int64_t kv_heads = chunk.sequence->shape().kv_heads;
    TORCH_CHECK(
        chunk.sequence->owner() == model.id() &&
            (kv_heads == patched.kv_heads || chunk.masks == nullptr),
        "chunk ",
        i,
        ": its sequence was made for another model, or not to be patched");
    TORCH_CHECK(
        chunk.tokens > 0 && chunk.position == chunk.sequence->length() &&
            chunk.position + chunk.tokens <= chunk.sequence->capacity(),
        "chunk ",
        i,
        ": expected 1 to ",
        chunk.sequence->capacity() - chunk.sequence->length(),
        " tokens from position ",
        chunk.sequence->length(),
        " on, got ",
        chunk.tokens,
        " from ",
        chunk.position);
    tokens += chunk.tokens;
    if (chunk.masks != nullptr) {
      check_patch(model, request.chunks, i);
    }
  }
  TORCH_CHECK(
      request.tokens.dim() == 2 && request.tokens.size(0) == 1 &&
          request.tokens.size(1) == tokens && tokens > 0,
      "expected tokens [1, ",
      tokens,
      "] for the chunks, got ",
      request.tokens.sizes());
}

void check_added(const PatchableModel& model, const StepRequest& request) {
  for (const StepAddition& addition : request.added) {
    TORCH_CHECK(
        addition.chunk >= 0 &&
            addition.chunk < static_cast<int64_t>(request.chunks.size()),
        addition.hook,
        ": expected a chunk from 0 to ",
        request.chunks.size() - 1,
        ", got ",
        addition.chunk);
    const StepChunk& chunk =
        request.chunks[static_cast<size_t>(addition.chunk)];
    check_additions(
        model.model(), {{addition.hook, addition.value}}, 1, chunk.tokens);
  }
}

} // namespace

std::shared_ptr<Sequence> new_sequence(
    const PatchableModel& model,
    int64_t capacity,
    bool patched) {
  return std::make_shared<Sequence>(
      sequence_shape(model, patched),
      capacity,
      model.model().options(),
      model.id());
}

int64_t sequence_bytes(
    const PatchableModel& model,
    int64_t capacity,
    bool patched) {
  return Sequence::bytes(
      sequence_shape(model, patched), capacity, model.model().options());
}

void check_step(const PatchableModel& model, const StepRequest& request) {
  check_chunks(model, request);
  check_added(model, request);
}

} // namespace autocircuit
