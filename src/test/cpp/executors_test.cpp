// Every fast executor against the reference one: every kind of model and mask.
#include "executors.h"

#include "check.h"

namespace autocircuit::test {

TEST(executors_agree_on_every_kind_and_mask) {
  for_each_kind([](const Shape& shape) {
    for (const at::ScalarType type : {at::kDouble, at::kFloat, at::kBFloat16}) {
      Kind kind(shape, 0, type);
      for (const MaskKind masks : kMaskKinds) {
        kind.context.masks = masks_of(
            masks, {kind.model.n_masks()}, kind.context.masks.options());
        check_executors_agree(kind, kind.context, tolerance(type));
      }
    }
  });
}

} // namespace autocircuit::test
