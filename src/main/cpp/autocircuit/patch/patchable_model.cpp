#include "autocircuit/patch/patchable_model.h"

#include <algorithm>
#include <atomic>

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
  }
}

} // namespace autocircuit
