#include "autocircuit/engine/point_run.h"

#include <algorithm>
#include <utility>

#include "autocircuit/engine/dest_rows.h"
#include "autocircuit/engine/differences.h"
#include "autocircuit/engine/pass_end.h"

namespace autocircuit {

namespace {

struct GivenDifferences final : Differences {
  explicit GivenDifferences(const at::Tensor& differences)
      : tokens(differences.detach().permute({1, 2, 0, 3}).contiguous()) {}

  int64_t seq() const override {
    return tokens.size(1);
  }
  at::Tensor rows(int64_t start, int64_t n, int64_t first, int64_t positions)
      const override {
    return tokens.narrow(1, first, positions).narrow(2, start, n);
  }
  int64_t positions_at_once(int64_t n, int64_t positions) const override {
    (void)n;
    return positions;
  }

  at::Tensor tokens; // [batch, seq, n_srcs, d_model]
};

class PointRun final : public Hooks {
 public:
  PointRun(const PatchableModel& model, const PointRequest& request)
      : model_(model),
        masks_(request.masks),
        src_start_(request.src_start),
        src_stop_(request.src_stop),
        ends_at_last_(autocircuit::ends_at_last(model, request.input.slice)),
        differences_(
            c10::make_intrusive<GivenDifferences>(request.differences)) {}

  at::Tensor visit(HookId hook, const at::Tensor& value) override {
    const PatchWrapper* w = model_.wrapper(hook);
    return w != nullptr && w->is_dest() && is_scored(*w)
        ? rows({w}, value, nullptr).squeeze(2)
        : value;
  }

  HeadInputs head_inputs(
      c10::ArrayRef<HookId> modules,
      c10::ArrayRef<int64_t> heads,
      const at::Tensor& resid,
      const Norm* norm) override {
    (void)heads;
    const PatchWrapper* w = model_.wrapper(modules[0]);
    if (w == nullptr || !is_scored(*w)) {
      return {};
    }
    return all_head_inputs(
        model_,
        modules,
        resid,
        norm,
        ends_at_last_,
        [&](const auto& wrappers, const at::Tensor& x) {
          return rows(wrappers, x, norm);
        });
  }

  bool wants(HookId hook) const override {
    (void)hook;
    return false;
  }

  bool ends_at_last() const override {
    return ends_at_last_;
  }

  at::Tensor head_outputs(
      HookId hook,
      const at::Tensor& z,
      const at::Tensor& weights) override {
    (void)hook;
    (void)z;
    (void)weights;
    return {};
  }

  void head_outputs(HookId hook, const at::Tensor& value) override {
    (void)hook;
    (void)value;
  }

 private:
  /// Returns whether a destination reads any of the sources.
  bool is_scored(const PatchWrapper& w) const {
    return w.in_start < src_stop_ && src_start_ < w.in_stop;
  }

  at::Tensor rows(
      const std::vector<const PatchWrapper*>& wrappers,
      const at::Tensor& x,
      const Norm* norm) const {
    const PatchWrapper& first = *wrappers[0];
    const int64_t start = std::max(first.in_start, src_start_);
    return equal_rows(
        x,
        values_together(wrappers, masks_, x.size(1))
            .narrow(
                -1,
                start - first.in_start,
                std::min(first.in_stop, src_stop_) - start),
        differences_,
        start,
        norm);
  }

  const PatchableModel& model_;
  at::Tensor masks_;
  int64_t src_start_;
  int64_t src_stop_;
  bool ends_at_last_;
  c10::intrusive_ptr<Differences> differences_;
};

} // namespace

at::Tensor point_forward(
    const PatchableModel& model,
    const PointRequest& request) {
  PointRun run(model, request);
  return forward_adding(model.model(), request.input, run, request.added);
}

} // namespace autocircuit
