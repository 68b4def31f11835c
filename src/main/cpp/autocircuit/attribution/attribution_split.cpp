#include "autocircuit/attribution/attribution_split.h"

#include <algorithm>
#include <limits>
#include <optional>

#include "autocircuit/attribution/rehearsed_model.h"
#include "autocircuit/engine/buffered_run.h"
#include "autocircuit/memory/rehearsal.h"

namespace autocircuit {

namespace {

// Fewer tokens at once than this make poor matrix products.
constexpr int64_t kEnoughTokens = 64;

/// A request without numbers, for as many rehearsals as are needed.
class Rehearsed {
 public:
  Rehearsed(const PatchableModel& model, const EdgeAttribution& request)
      : on_cpu_(stands_for_cpu(model)),
        model_(on_meta(
            model,
            c10::typeMetaToScalarType(model.model().options().dtype()))),
        request_(request) {
    request_.clean = on_meta(request.clean);
    request_.corrupt = on_meta(request.corrupt);
    request_.patch_src_outs = on_meta(request.patch_src_outs);
    request_.loss.answers = on_meta(request.loss.answers);
    request_.loss.wrong_answers = on_meta(request.loss.wrong_answers);
  }

  int64_t bytes(AttributionSplit split) const {
    // The second part meets the sums of the first; later ones differ in
    // nothing but what is kept of each prompt, and joined at last.
    const int64_t batch = request_.clean.value.size(0);
    const int64_t prompts = std::min(batch, 2 * split.prompts);
    EdgeAttribution some = some_prompts(request_, 0, prompts);
    // They are refused where not all prompts are attributed at once.
    some.want_differences &= prompts <= split.prompts && !split.compact;
    const Rehearsal rehearsal(on_cpu_, /*idle_limit=*/0);
    const MaskGradient result = edge_attribution(*model_, some, split);
    auto of_prompts = static_cast<int64_t>(result.logits.nbytes());
    if (request_.per_prompt) {
      of_prompts += static_cast<int64_t>(result.grad.nbytes());
    }
    const int64_t kept = 2 * (batch - prompts) * (of_prompts / prompts);
    return rehearsal.most().in_use() + kept;
  }

  /// The most prompts at once, none if not even one fits.
  int64_t most_prompts(bool compact, int64_t limit) const {
    const int64_t batch = request_.clean.value.size(0);
    if (bytes({batch, compact}) <= limit) {
      return batch;
    }
    int64_t fits = 0;
    int64_t too_many = batch;
    while (too_many - fits > 1) {
      const int64_t middle = fits + (too_many - fits) / 2;
      (bytes({middle, compact}) <= limit ? fits : too_many) = middle;
    }
    return fits;
  }

 private:
  bool on_cpu_;
  std::shared_ptr<const PatchableModel> model_;
  EdgeAttribution request_;
};

} // namespace

int64_t attribution_bytes(
    const PatchableModel& model,
    const EdgeAttribution& request,
    AttributionSplit split) {
  return Rehearsed(model, request).bytes(split);
}

AttributionSplit split_within(
    const PatchableModel& model,
    const EdgeAttribution& request,
    int64_t bytes) {
  model.model().check_input(request.clean);
  const int64_t batch = request.clean.value.size(0);
  const int64_t seq = request.clean.value.size(1);
  if (bytes == std::numeric_limits<int64_t>::max()) {
    return {batch, false};
  }
  const Rehearsed rehearsed(model, request);
  const int64_t plain = rehearsed.most_prompts(/*compact=*/false, bytes);
  if (plain == batch || plain * seq >= kEnoughTokens) {
    return {plain, false};
  }
  const bool fits = fits_compact(model, request.mask_value);
  const int64_t compact =
      fits ? rehearsed.most_prompts(/*compact=*/true, bytes) : 0;
  if (plain == 0 && compact == 0) {
    int64_t least = rehearsed.bytes({1, false});
    if (fits) {
      least = std::min(least, rehearsed.bytes({1, true}));
    }
    TORCH_CHECK(
        false,
        "expected a memory limit of at least ",
        least,
        " bytes, which one prompt of ",
        seq,
        " tokens takes, got ",
        bytes);
  }
  return compact > plain ? AttributionSplit{compact, true}
                         : AttributionSplit{plain, false};
}

} // namespace autocircuit
