// Requests that generate, step by step, for tests of steps.
#pragma once

#include <memory>
#include <vector>

#include "autocircuit/engine/step.h"
#include "kinds.h"

namespace autocircuit::test {

/// One request: its tokens, and how it is patched.
struct Generated {
  at::Tensor tokens;        // [1, all]
  at::Tensor corrupt = {};  // [1, all]: a donor's tokens
  at::Tensor constant = {}; // [n_srcs, 1, positions or 1, d_model]
  at::Tensor masks = {};    // [n_masks]; undefined: plain
  std::vector<StepAddition> added = {};
};

/// Runs requests, each with sequences of its own, and keeps their logits.
class Generation {
 public:
  Generation(const PatchableModel& model, std::vector<Generated> requests);

  /// Adds so many tokens to each request, 0 to none, in one step.
  void step(
      const std::vector<int64_t>& tokens,
      const std::vector<std::string>& reads = {});

  /// All tokens of all requests: `prompt` in chunks of at most `chunk`, then
  /// one by one. apart: a step for each request.
  void run(int64_t prompt, int64_t chunk, bool apart);

  /// Logits at the positions behind which steps ended, by request: [d_vocab].
  const std::vector<std::vector<std::pair<int64_t, at::Tensor>>>& logits()
      const {
    return logits_;
  }
  const std::vector<at::Tensor>& reads() const {
    return reads_;
  }
  Sequence& sequence(size_t request) {
    return *sequences_[request];
  }

 private:
  const PatchableModel& model_;
  std::vector<Generated> requests_;
  std::vector<std::shared_ptr<StepMasks>> masks_;
  std::vector<std::shared_ptr<Sequence>> sequences_;
  std::vector<std::shared_ptr<Sequence>> donors_;
  std::vector<std::vector<std::pair<int64_t, at::Tensor>>> logits_;
  std::vector<at::Tensor> reads_;
};

/// Logits of the last position of an uncached pass over the first `length`
/// tokens, from plain operations.
at::Tensor uncached(
    const PatchableModel& model,
    const Generated& request,
    int64_t length);

/// Plain, patched by a donor with dense and with sparse masks, patched with a
/// constant, and fully patched: random requests of so many tokens.
std::vector<Generated> some_requests(const PatchableModel& model, int64_t all);

} // namespace autocircuit::test
