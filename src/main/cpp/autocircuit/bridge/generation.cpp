#include <ATen/core/grad_mode.h>

#include "autocircuit/bridge/bridge.h"
#include "autocircuit/bridge/errors.h"
#include "autocircuit/bridge/handles.h"
#include "autocircuit/engine/step.h"
#include "autocircuit/memory/workspace_pool.h"

namespace autocircuit::bridge {

namespace {

// Numbers of a chunk; see bridge.h.
constexpr size_t kChunkNumbers = 8;

std::vector<StepChunk> unpack_chunks(
    at::ArrayRef<int64_t> numbers,
    const Tensors& constants) {
  TORCH_CHECK(
      numbers.size() % kChunkNumbers == 0,
      "expected ",
      kChunkNumbers,
      " numbers for each chunk, got ",
      numbers.size());
  std::vector<StepChunk> chunks;
  for (size_t i = 0; i < numbers.size(); i += kChunkNumbers) {
    const auto n = numbers.slice(i, kChunkNumbers);
    const int64_t constant = n[6];
    TORCH_CHECK(
        constant < static_cast<int64_t>(constants.size()),
        "expected a constant below ",
        constants.size(),
        ", got ",
        constant);
    chunks.push_back(
        {.sequence = from_handle<Sequence>(n[0]),
         .position = n[1],
         .tokens = n[2],
         .wants_logits = n[3] != 0,
         .wants_reads = n[4] != 0,
         .donor = n[5],
         .constant = constant < 0 ? at::Tensor()
                                  : constants[static_cast<size_t>(constant)],
         .masks = from_optional_handle<StepMasks>(n[7])});
  }
  return chunks;
}

} // namespace

int64_t new_sequence(int64_t model, int64_t capacity, bool patched) {
  return translating_errors([&] {
    return to_handle(autocircuit::new_sequence(
        *from_handle<const PatchableModel>(model), capacity, patched));
  });
}

int64_t fork_sequence(int64_t sequence, int64_t length, int64_t capacity) {
  return translating_errors([&] {
    return to_handle(from_handle<Sequence>(sequence)->fork(length, capacity));
  });
}

void release_sequence(int64_t sequence) {
  release_handle<Sequence>(sequence);
}

int64_t sequence_bytes(int64_t model, int64_t capacity, bool patched) {
  return translating_errors([&] {
    return autocircuit::sequence_bytes(
        *from_handle<const PatchableModel>(model), capacity, patched);
  });
}

int64_t new_step_masks(
    int64_t model,
    const at::Tensor& masks,
    int64_t mask_fn,
    double dropout,
    int64_t seed) {
  return translating_errors([&] {
    const at::NoGradGuard no_grad;
    const at::Tensor values = mask_values(
        masks,
        /*batched=*/false,
        /*batch=*/1,
        mask_transform(mask_fn, dropout, seed, /*step=*/0, /*uniforms=*/{}));
    return to_handle(std::make_shared<StepMasks>(
        *from_handle<const PatchableModel>(model),
        values.dim() == 2 ? values.squeeze(0) : values));
  });
}

void release_step_masks(int64_t masks) {
  release_handle<StepMasks>(masks);
}

Tensors step(
    int64_t model,
    const int64_t* chunks,
    int64_t chunks_size,
    const at::Tensor& tokens,
    const Tensors& constants,
    const std::string& added_at,
    const int64_t* added_chunks,
    int64_t added_chunks_size,
    const Tensors& added,
    const std::string& reads,
    int64_t stop_address) {
  return translating_errors([&] {
    const auto patchable = from_handle<const PatchableModel>(model);
    StepRequest request{
        .chunks = unpack_chunks(
            {chunks, static_cast<size_t>(chunks_size)}, constants),
        .tokens = tokens,
        .reads = split_lines(reads),
        .stop = reinterpret_cast<const volatile int32_t*>(stop_address)};
    const std::vector<Addition> additions = bridge::additions(added_at, added);
    TORCH_CHECK(
        additions.size() == static_cast<size_t>(added_chunks_size),
        "expected a chunk for each of ",
        additions.size(),
        " hook points, got ",
        added_chunks_size);
    for (size_t i = 0; i < additions.size(); i++) {
      request.added.push_back(
          {.hook = additions[i].hook,
           .chunk = added_chunks[i],
           .value = additions[i].value});
    }
    const WorkspaceScope workspace;
    const PassThreads threads(patchable->model(), {.value = tokens});
    StepResult result = autocircuit::step(*patchable, request);
    Tensors tensors;
    if (!result.stopped) {
      tensors.push_back(std::move(result.logits));
      for (at::Tensor& read : result.reads) {
        tensors.push_back(std::move(read));
      }
    }
    return tensors;
  });
}

} // namespace autocircuit::bridge
