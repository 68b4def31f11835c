#include "autocircuit/engine/mask_plans.h"

#include <algorithm>

#include "autocircuit/memory/rehearsal.h"

namespace autocircuit {

namespace {

// Of a circuit on one model that all passes start at the tokens: two. More are
// of masks that several models share, or of passes that start later.
constexpr size_t kMostPlans = 8;

} // namespace

std::shared_ptr<const Plan> MaskPlans::get(
    const Key& key,
    const std::function<Plan()>& make) {
  const auto find = [&] {
    const auto found =
        std::find_if(plans_.begin(), plans_.end(), [&](const auto& plan) {
          return plan.first == key;
        });
    return found == plans_.end() ? nullptr : found->second;
  };
  {
    const std::lock_guard<std::mutex> lock(mutex_);
    if (auto plan = find()) {
      return plan;
    }
  }
  // Two threads may make the same one: neither waits, and the first is kept.
  auto plan = std::make_shared<const Plan>(make());
  const std::lock_guard<std::mutex> lock(mutex_);
  made_++;
  if (auto other = find()) {
    return other;
  }
  plans_.emplace_front(key, plan);
  if (plans_.size() > kMostPlans) {
    plans_.pop_back();
  }
  return plan;
}

const at::Tensor& mask_numbers(const PatchContext& context) {
  return context.plans != nullptr && is_rehearsed(context.masks) &&
          is_on_cpu(context.masks)
      ? context.plans->masks()
      : context.masks;
}

int64_t MaskPlans::made() const {
  const std::lock_guard<std::mutex> lock(mutex_);
  return made_;
}

} // namespace autocircuit
