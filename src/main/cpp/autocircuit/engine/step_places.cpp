#include "autocircuit/engine/step_places.h"

#include <map>
#include <set>

namespace autocircuit {

Places::Places(const StepRequest& request) {
  const auto& chunks = request.chunks;
  std::set<int64_t> donors;
  std::set<int64_t> steered;
  for (const StepChunk& chunk : chunks) {
    if (chunk.masks != nullptr && chunk.donor >= 0) {
      donors.insert(chunk.donor);
    }
  }
  for (const StepAddition& addition : request.added) {
    steered.insert(addition.chunk);
  }
  placed_.reserve(chunks.size());
  std::map<int64_t, size_t> place_of;
  const auto place = [&](int64_t index) {
    const StepChunk& chunk = chunks[static_cast<size_t>(index)];
    if (place_of.try_emplace(index, placed_.size()).second) {
      placed_.push_back({&chunk, index, tokens_, steered.contains(index)});
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

} // namespace autocircuit
