#pragma once

#include <c10/util/ArrayRef.h>

#include <cstdint>
#include <vector>

#include "autocircuit/engine/step.h"
#include "autocircuit/model/packed_tokens.h"

namespace autocircuit {

/// A chunk and where its tokens are in the pass: plain ones first, donors next,
/// patched ones last.
struct Placed {
  const StepChunk* chunk;
  int64_t index; // in the request
  int64_t first;
  int64_t given; // its first token in the request
  /// Something is added to its stream or its donor's that is no source's.
  bool steered = false;
  const Placed* donor = nullptr;
};

/// The chunks of a step in the order of its pass.
class Places {
 public:
  explicit Places(const StepRequest& request);

  const std::vector<Placed>& all() const {
    return placed_;
  }
  at::ArrayRef<Placed> patched() const {
    return at::ArrayRef<Placed>(placed_).slice(first_patched_);
  }
  int64_t tokens() const {
    return tokens_;
  }
  int64_t donors_from() const {
    return donors_from_;
  }
  int64_t patched_from() const {
    return patched_from_;
  }
  int64_t patched_tokens() const {
    return tokens_ - patched_from_;
  }

 private:
  std::vector<Placed> placed_;
  size_t first_patched_ = 0;
  int64_t tokens_ = 0;
  int64_t donors_from_ = 0;
  int64_t patched_from_ = 0;
};

/// Patched chunks that are mixed at once: one after another, with the same
/// masks and the same kind of base.
struct MixedTogether {
  int64_t first = 0; // token among the patched
  int64_t tokens = 0;
  std::vector<const Placed*> chunks = {};
};

std::vector<MixedTogether> mixed_together(const Places& places);

/// The last tokens of the chunks that want something, in the request's order.
std::vector<int64_t> last_tokens(const Places& places, bool StepChunk::*wanted);

/// Of the chunks that want logits, in the request's order, those that want
/// values, too.
std::vector<int64_t> read_among_wanted(const StepRequest& request);

/// Tokens of a request [1, tokens] in the order of the pass.
at::Tensor in_order(const at::Tensor& tokens, const Places& places);

PackedTokens packed_tokens(const PatchableModel& model, const Places& places);

} // namespace autocircuit
