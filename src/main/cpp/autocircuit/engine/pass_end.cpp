#include "autocircuit/engine/pass_end.h"

#include <string>

namespace autocircuit {

bool ends_at_last(const PatchableModel& model, OutputSlice slice) {
  return slice == OutputSlice::kLastSeq && model.model().can_end_at_last();
}

bool is_at_end(const PatchableModel& model, const ModelNode& node) {
  return node.block + 1 >= model.model().n_layers();
}

bool has_last_queries(
    const PatchableModel& model,
    c10::ArrayRef<HookId> modules) {
  return modules.size() > 1 &&
      is_at_end(model, model.model().node_at(modules[0]));
}

at::Tensor last_positions(const at::Tensor& x, int64_t n) {
  return x.narrow(1, x.size(1) - n, n);
}

HookId stream_hook(const PatchableModel& model, int64_t block) {
  return model.model().hook_id(
      "blocks." + std::to_string(block) + ".hook_resid_pre");
}

} // namespace autocircuit
