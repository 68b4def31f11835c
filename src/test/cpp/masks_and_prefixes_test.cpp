// Attention masks and prefixes that are wrong or wild. What they compute is
// tested from Java, over all kinds of models.
#include <utility>
#include <vector>

#include <ATen/core/grad_mode.h>

#include "autocircuit/engine/forward.h"
#include "autocircuit/engine/source_ablations.h"
#include "models.h"

#include "check.h"

namespace autocircuit::test {

namespace {

PatchableModel small() {
  const Shape shape;
  return {random_transformer(shape, at::kDouble), edge_wrappers(shape)};
}

at::Tensor tokens() {
  return to_device(at::arange(12, at::kLong).view({3, 4}).remainder(11));
}

} // namespace

TEST(misuse_of_masks_and_prefixes_is_named) {
  const c10::NoGradGuard no_grad;
  const PatchableModel model = small();
  const auto run = [&](const at::Tensor& mask, PrefixCache prefix = {}) {
    return source_ablations(
        model,
        {.value = tokens(),
         .attention_mask = mask,
         .prefix = std::move(prefix)},
        BatchAblation::kZero);
  };
  CHECK_THROWS(
      run(to_device(at::ones({3, 3}, at::kLong))), "attention mask [3, 4]");
  CHECK_THROWS(run(to_device(at::ones({3, 4}))), "of integers or booleans");
  const auto prefix = [&](at::IntArrayRef shape, size_t blocks = 2) {
    const at::Tensor entry = to_device(at::zeros(shape, at::kDouble));
    return PrefixCache{
        .keys = std::vector<at::Tensor>(blocks, entry),
        .values = std::vector<at::Tensor>(blocks, entry)};
  };
  run({}, prefix({1, 4, 2, 4}));
  run({}, prefix({3, 4, 2, 4}));
  CHECK_THROWS(run({}, prefix({2, 4, 2, 4})), "[1 or 3, prefix");
  CHECK_THROWS(run({}, prefix({1, 4, 1, 4})), "key/value heads");
  CHECK_THROWS(run({}, prefix({1, 4, 4})), "prefix of block 0");
  CHECK_THROWS(run({}, prefix({1, 5, 2, 4})), "at most 8 positions");
  CHECK_THROWS(run({}, prefix({1, 4, 2, 4}, 1)), "each of 2 blocks");
  const PatchableModel micro(micro_model(2), micro_edge_wrappers(2));
  CHECK_THROWS(
      source_ablations(
          micro,
          {.value = to_device(at::zeros({1, 1, 2}, at::kDouble)),
           .attention_mask = to_device(at::ones({1, 1}, at::kLong))},
          BatchAblation::kZero),
      "no attention");
}

// Values are not looked at, so none may reach memory that is not the model's.
TEST(masks_of_any_values_are_safe) {
  const c10::NoGradGuard no_grad;
  const PatchableModel model = small();
  const auto run = [&](const at::Tensor& mask) {
    return source_ablations(
        model,
        {.value = tokens(), .attention_mask = mask},
        BatchAblation::kResample);
  };
  const at::Tensor wild = to_device(
      at::tensor({0, 7, -3, 1000000, 0, 0, 0, 0, 1, 0, 2, 0}, at::kLong)
          .view({3, 4}));
  CHECK_CLOSE(run(wild), run(wild != 0), 0, 0);
}

} // namespace autocircuit::test
