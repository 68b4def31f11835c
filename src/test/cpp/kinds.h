// One shape for each kind of transformer, and a patched model of it.
#pragma once

#include <functional>
#include <string>
#include <utility>
#include <vector>

#include "autocircuit/patch/patchable_model.h"
#include "models.h"

namespace autocircuit::test {

std::vector<std::pair<std::string, Shape>> kinds();
Shape llama();
Shape gemma();

/// A model of some kind with wrappers of the edge graph, two batches of prompts
/// and a context with random masks.
struct Kind {
  explicit Kind(
      const Shape& s,
      int64_t seq_len = 0,
      at::ScalarType type = at::kDouble);

  Shape shape;
  PatchableModel model;
  at::Tensor clean;
  at::Tensor corrupt;
  PatchContext context;
};

/// A failure says of which kind it is.
void for_each_kind(const std::function<void(const Shape&)>& body);

} // namespace autocircuit::test
