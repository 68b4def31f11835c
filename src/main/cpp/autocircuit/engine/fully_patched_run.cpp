#include "autocircuit/engine/fully_patched_run.h"

#include <ATen/core/grad_mode.h>
#include <ATen/ops/equal.h>
#include <ATen/ops/ones.h>
#include <ATen/ops/zeros.h>

#include <algorithm>
#include <unordered_set>
#include <utility>

#include "autocircuit/engine/forward.h"
#include "autocircuit/memory/rehearsal.h"

namespace autocircuit {

namespace {

bool same(const at::Tensor& a, const at::Tensor& b) {
  return (!a.defined() && !b.defined()) ||
      (a.defined() && b.defined() && a.sizes() == b.sizes() &&
       a.dtype() == b.dtype() && (is_rehearsed(a) || at::equal(a, b)));
}

// Of memory that some of them share, once.
int64_t bytes_of(const FullyPatchedRun& run) {
  std::unordered_set<const void*> seen;
  int64_t bytes = 1; // one that is there is not nothing
  const auto add = [&](const at::Tensor& x) {
    if (x.defined() && seen.insert(x.storage().unsafeGetStorageImpl()).second) {
      bytes += static_cast<int64_t>(x.storage().nbytes());
    }
  };
  add(run.delta);
  std::for_each(run.values.begin(), run.values.end(), add);
  return bytes;
}

} // namespace

bool FullyPatchedCache::Key::operator==(const Key& other) const {
  return model == other.model && version == other.version &&
      sizes == other.sizes && same(attention_mask, other.attention_mask) &&
      prefix.is_same(other.prefix);
}

FullyPatchedCache::Key FullyPatchedCache::key_of(
    const PatchableModel& model,
    const ModelInput& input,
    const at::Tensor& activations) {
  const PrefixCache& prefix = input.prefix;
  return {
      .model = model.id(),
      .version = version_of(model.model().weights().tensors()) +
          version_of(activations) + version_of(prefix.keys) +
          version_of(prefix.values),
      .sizes = input.value.sizes().slice(0, 2).vec(),
      .attention_mask = input.attention_mask.defined()
          ? input.attention_mask.clone()
          : at::Tensor(),
      .prefix = prefix.empty() ? at::Tensor() : prefix.keys.back()};
}

std::shared_ptr<const FullyPatchedRun> FullyPatchedCache::get(
    const PatchableModel& model,
    const ForwardRequest& request) {
  const Key key = key_of(model, request.input, request.context->patch_src_outs);
  while (true) {
    std::promise<Run> promise;
    const auto mine = std::make_shared<Entry>(
        Entry{.key = key, .run = promise.get_future().share()});
    std::shared_ptr<Entry> entry = mine;
    bool resampled = false;
    {
      const std::lock_guard<std::mutex> lock(mutex_);
      const auto found =
          std::find_if(entries_.begin(), entries_.end(), [&](const auto& e) {
            return e->key == key;
          });
      if (found != entries_.end()) {
        entry = *found;
        entries_.splice(entries_.begin(), entries_, found);
      } else {
        entries_.push_front(mine);
        resampled = origin_ == key;
        made_++;
      }
    }
    if (entry != mine) {
      if (Run run = entry->run.get()) {
        return run;
      }
      continue; // who made it failed: each has errors of its own
    }
    Run run;
    Entries gone; // freed when the lock has gone
    try {
      run = make(model, request, resampled);
      gone = finish(entry, run);
    } catch (...) {
      finish(entry, nullptr);
      promise.set_value(nullptr);
      throw;
    }
    promise.set_value(run);
    return run;
  }
}

FullyPatchedCache::Run FullyPatchedCache::make(
    const PatchableModel& model,
    const ForwardRequest& request,
    bool resampled) const {
  const at::NoGradGuard no_grad;
  const PatchContext ones{
      .patch_src_outs = request.context->patch_src_outs.detach(),
      .masks = at::ones({model.n_masks()}, request.context->masks.options()),
      .transform = {},
      .uniform = 1};
  ForwardRequest fully_patched;
  fully_patched.input = request.input;
  if (request.input.is_resid) { // any tokens do
    fully_patched.input.value = at::zeros(
        request.input.value.sizes().slice(0, 2),
        request.input.value.options().dtype(at::kLong));
  }
  fully_patched.input.start_block = 0;
  fully_patched.input.is_resid = false;
  fully_patched.input.slice = OutputSlice::kLastSeq;
  fully_patched.context = &ones;
  fully_patched.want_src_outs = true;
  auto run = std::make_shared<FullyPatchedRun>();
  const at::Tensor src_outs =
      recorded_forward(
          model, fully_patched, Recorded::kEqualInputs, run->values)
          .src_outs;
  if (!resampled) {
    const MemoryPartScope deltas(MemoryPart::kDeltas);
    run->delta = (ones.patch_src_outs - src_outs).permute({1, 2, 0, 3});
  }
  return run;
}

FullyPatchedCache::Entries FullyPatchedCache::finish(
    const std::shared_ptr<Entry>& entry,
    const Run& run) {
  const int64_t bytes = run == nullptr ? 0 : bytes_of(*run);
  Entries gone;
  const std::lock_guard<std::mutex> lock(mutex_);
  const auto mine = std::find(entries_.begin(), entries_.end(), entry);
  if (mine == entries_.end()) {
    return gone; // forgotten meanwhile
  }
  if (run == nullptr) {
    gone.splice(gone.end(), entries_, mine);
    return gone;
  }
  entry->bytes = bytes;
  int64_t kept = 0;
  for (auto next = entries_.begin(); next != entries_.end();) {
    const auto at = next++;
    kept += (*at)->bytes;
    if (kept > limit_ && (*at)->bytes > 0 && at != entries_.begin()) {
      gone.splice(gone.end(), entries_, at);
    }
  }
  return gone;
}

void FullyPatchedCache::resampled_from(
    const PatchableModel& model,
    const ModelInput& input,
    const at::Tensor& activations) {
  Key key = key_of(model, input, activations);
  at::Tensor tokens = input.value.scalar_type() == at::kLong
      ? input.value.clone()
      : at::Tensor();
  const std::lock_guard<std::mutex> lock(mutex_);
  origin_ = std::move(key);
  origin_tokens_ = std::move(tokens);
}

int64_t FullyPatchedCache::shared_positions(
    const PatchableModel& model,
    const ModelInput& input,
    const at::Tensor& activations) const {
  const Key key = key_of(model, input, activations);
  at::Tensor tokens;
  {
    const std::lock_guard<std::mutex> lock(mutex_);
    if (origin_ == key) {
      tokens = origin_tokens_;
    }
  }
  if (!tokens.defined()) {
    return 0;
  }
  // Of each position: whether any prompt has differed up to there.
  const at::Tensor differ =
      (tokens != input.value).any(0).cpu().cumsum(0, at::kLong) > 0;
  const int64_t same = (differ == 0).sum().item<int64_t>();
  return std::min(same, input.value.size(1) - 1);
}

void FullyPatchedCache::clear() {
  Entries gone; // freed when the lock has gone
  const std::lock_guard<std::mutex> lock(mutex_);
  gone.swap(entries_);
}

FullyPatchedStats FullyPatchedCache::stats() const {
  const std::lock_guard<std::mutex> lock(mutex_);
  FullyPatchedStats stats{.runs = 0, .bytes = 0, .made = made_};
  for (const auto& entry : entries_) {
    stats.runs += entry->bytes > 0 ? 1 : 0;
    stats.bytes += entry->bytes;
  }
  return stats;
}

} // namespace autocircuit
