#include "autocircuit/engine/step_places.h"

#include <ATen/ops/cat.h>

#include <map>
#include <set>
#include <utility>

namespace autocircuit {

Places::Places(const StepRequest& request) {
  const auto& chunks = request.chunks;
  std::set<int64_t> donors;
  std::set<int64_t> steered;
  std::vector<int64_t> given; // first tokens in the request
  int64_t tokens = 0;
  for (const StepChunk& chunk : chunks) {
    if (chunk.masks != nullptr && chunk.donor >= 0) {
      donors.insert(chunk.donor);
    }
    given.push_back(tokens);
    tokens += chunk.tokens;
  }
  for (const StepAddition& addition : request.added) {
    steered.insert(addition.chunk);
  }
  placed_.reserve(chunks.size());
  std::map<int64_t, size_t> place_of;
  const auto place = [&](int64_t index) {
    const StepChunk& chunk = chunks[static_cast<size_t>(index)];
    if (place_of.try_emplace(index, placed_.size()).second) {
      placed_.push_back(
          {&chunk,
           index,
           tokens_,
           given[static_cast<size_t>(index)],
           steered.contains(index)});
      tokens_ += chunk.tokens;
    }
  };
  const auto n = static_cast<int64_t>(chunks.size());
  for (int64_t i = 0; i < n; i++) {
    if (chunks[static_cast<size_t>(i)].masks == nullptr &&
        !donors.contains(i)) {
      place(i);
    }
  }
  donors_from_ = tokens_;
  // In the order of those that read them, so that these are read as one.
  for (const StepChunk& chunk : chunks) {
    if (chunk.masks != nullptr && chunk.donor >= 0) {
      place(chunk.donor);
    }
  }
  patched_from_ = tokens_;
  first_patched_ = placed_.size();
  for (int64_t i = 0; i < n; i++) {
    if (chunks[static_cast<size_t>(i)].masks != nullptr) {
      place(i);
    }
  }
  for (Placed& p : placed_) {
    if (p.chunk->masks != nullptr && p.chunk->donor >= 0) {
      p.donor = &placed_[place_of.at(p.chunk->donor)];
      p.steered = p.steered || p.donor->steered;
    }
  }
}

std::vector<MixedTogether> mixed_together(const Places& places) {
  std::vector<MixedTogether> groups;
  for (const Placed& p : places.patched()) {
    const bool joins = !groups.empty() &&
        groups.back().chunks[0]->chunk->masks == p.chunk->masks &&
        groups.back().chunks[0]->steered == p.steered &&
        p.chunk->masks->seq_len() == 0;
    if (!joins) {
      groups.push_back({.first = p.first - places.patched_from()});
    }
    groups.back().tokens += p.chunk->tokens;
    groups.back().chunks.push_back(&p);
  }
  return groups;
}

std::vector<int64_t> last_tokens(
    const Places& places,
    bool StepChunk::*wanted) {
  std::map<int64_t, int64_t> tokens; // by index in the request
  for (const Placed& p : places.all()) {
    if (p.chunk->*wanted) {
      tokens[p.index] = p.first + p.chunk->tokens - 1;
    }
  }
  std::vector<int64_t> in_order;
  for (const auto& [index, token] : tokens) {
    in_order.push_back(token);
  }
  return in_order;
}

std::vector<int64_t> read_among_wanted(const StepRequest& request) {
  std::vector<int64_t> indices;
  int64_t index = 0;
  for (const StepChunk& chunk : request.chunks) {
    if (chunk.wants_logits && chunk.wants_reads) {
      indices.push_back(index);
    }
    index += chunk.wants_logits ? 1 : 0;
  }
  return indices;
}

at::Tensor in_order(const at::Tensor& tokens, const Places& places) {
  std::vector<at::Tensor> parts;
  for (const Placed& p : places.all()) {
    parts.push_back(tokens.narrow(1, p.given, p.chunk->tokens));
  }
  return at::cat(parts, 1);
}

PackedTokens packed_tokens(const PatchableModel& model, const Places& places) {
  std::vector<Chunk> chunks;
  for (const Placed& p : places.all()) {
    const StepChunk& chunk = *p.chunk;
    chunks.push_back(
        {chunk.sequence.get(), p.first, chunk.position, chunk.tokens});
  }
  return {
      std::move(chunks),
      last_tokens(places, &StepChunk::wants_logits),
      model.model().options().device()};
}

} // namespace autocircuit
