#include "autocircuit/patch/patchable_model.h"

#include <algorithm>
#include <atomic>

#include "autocircuit/model/precision.h"

namespace autocircuit {

namespace {

uint64_t next_id() {
  static std::atomic<uint64_t> next{0};
  return next++;
}

void check_wrapper(const PatchWrapper& w) {
  TORCH_CHECK(
      w.is_src() || w.is_dest(),
      w.module,
      ": a wrapper is a source, a destination or both");
  TORCH_CHECK(
      !w.is_src() || w.src_stop > w.src_start,
      w.module,
      ": expected sources start < stop, got ",
      w.src_start,
      " and ",
      w.src_stop);
  TORCH_CHECK(
      !w.is_dest() ||
          (w.in_stop > w.in_start && w.rows >= 0 && w.mask_offset >= 0),
      w.module,
      ": expected incoming sources start < stop, rows and a mask offset of at "
      "least 0, got ",
      w.in_start,
      ", ",
      w.in_stop,
      ", ",
      w.rows,
      " and ",
      w.mask_offset);
}

} // namespace

PatchableModel::PatchableModel(
    std::shared_ptr<const Model> model,
    std::vector<PatchWrapper> wrappers)
    : model_(std::move(model)),
      wrappers_(std::move(wrappers)),
      wrapper_at_(model_->hook_names().size(), -1),
      id_(next_id()) {
  for (size_t i = 0; i < wrappers_.size(); i++) {
    const PatchWrapper& w = wrappers_[i];
    check_wrapper(w);
    int64_t& index =
        wrapper_at_[static_cast<size_t>(model_->hook_id(w.module))];
    TORCH_CHECK(index < 0, w.module, ": wrapped twice");
    index = static_cast<int64_t>(i);
    n_srcs_ = std::max(n_srcs_, w.src_stop);
    if (w.is_dest()) {
      n_masks_ = std::max(n_masks_, w.mask_offset + w.mask_size());
    }
  }
  for (const PatchWrapper& w : wrappers_) {
    TORCH_CHECK(
        w.in_stop <= n_srcs_,
        w.module,
        ": expected incoming sources below ",
        n_srcs_,
        ", got ",
        w.in_stop);
    constants_.push_back(constants_of(w));
  }
}

std::optional<std::vector<at::Tensor>> PatchableModel::constants_of(
    const PatchWrapper& dest) const {
  if (!dest.is_dest()) {
    return std::nullopt;
  }
  const HookId hook = model_->hook_id(dest.module);
  // A first source that is a destination, too, is the stream up to there.
  HookId stream = -1;
  int64_t n = 0;
  for (const PatchWrapper& w : wrappers_) {
    if (w.is_dest() && w.src_start == dest.in_start) {
      stream = model_->hook_id(w.module);
      n = w.src_stop - w.src_start;
    }
  }
  std::vector<at::Tensor> constants;
  for (const StreamPart& part : model_->stream_parts()) {
    if (part.seen_from <= stream || part.seen_from > hook) {
      continue;
    }
    for (const HookId source : part.sources) {
      const PatchWrapper* w = wrapper(source);
      if (w == nullptr || !w->is_src() || w->src_start < dest.in_start ||
          w->src_stop > dest.in_stop) {
        return std::nullopt;
      }
      n += w->src_stop - w->src_start;
    }
    if (part.constant.defined()) {
      constants.push_back(part.constant);
    }
  }
  return n == dest.n_in() ? std::optional(std::move(constants)) : std::nullopt;
}

at::Tensor PatchableModel::constant(const PatchWrapper& wrapper) const {
  const at::ScalarType type =
      accumulation_type(c10::typeMetaToScalarType(model_->options().dtype()));
  at::Tensor sum;
  for (const at::Tensor& constant : *constants_[index_of(wrapper)]) {
    sum = sum.defined() ? sum + constant : constant.to(type);
  }
  return sum;
}

} // namespace autocircuit
