// Tests how many threads a pass takes, as long as nobody has said how many.
#include "autocircuit/bridge/threads.h"

#include <ATen/core/grad_mode.h>
#include <ATen/ops/ones.h>

#include "check.h"
#include "devices.h"
#include "models.h"
#include "threads.h"

namespace autocircuit::test {

namespace {

// A block of GPT-2 small.
std::shared_ptr<const Model> wide_model() {
  Shape shape;
  shape.layers = 1;
  shape.d_model = 768;
  shape.heads = 12;
  shape.d_head = 64;
  shape.d_mlp = 3072;
  return random_transformer(shape, at::kFloat);
}

ModelInput tokens(int64_t batch, int64_t seq) {
  return {.value = at::ones({batch, seq}, at::kLong)};
}

int within(const Model& model, const ModelInput& input) {
  const bridge::PassThreads threads(model, input);
  return at::get_num_threads();
}

} // namespace

TEST(threads_are_worth_it_where_blocks_are_large) {
  cpu_only("its threads");
  // Blocks of 96, 256 and 768 numbers, in prompts of 16 tokens.
  const double embedded = 12 * 96 * 96;
  const double four_layers = 12 * 256 * 256;
  const double gpt2 = 12 * 768 * 768;
  CHECK_EQUAL(bridge::threads_worth(embedded, 64 * 16, 16), 1);
  CHECK_EQUAL(bridge::threads_worth(four_layers, 8 * 16, 16), 1);
  CHECK_EQUAL(bridge::threads_worth(gpt2, 8 * 16, 2), 2);
  CHECK_EQUAL(bridge::threads_worth(gpt2, 8 * 16, 16), 14);
  CHECK_EQUAL(bridge::threads_worth(gpt2, 64 * 16, 16), 16);
  CHECK_EQUAL(bridge::threads_worth(1e30, int64_t{1} << 40U, 16), 16);
  CHECK_EQUAL(bridge::threads_worth(0, 0, 0), 1);
}

TEST(passes_take_threads_by_their_work_and_give_them_back) {
  cpu_only("its threads");
  const Threads three(3);
  const auto wide = wide_model();
  const auto small = random_transformer({}, at::kFloat);
  CHECK_EQUAL(within(*wide, tokens(8, 8)), 3);
  CHECK_EQUAL(within(*wide, tokens(1, 1)), 1);
  CHECK_EQUAL(within(*small, tokens(8, 8)), 1);
  CHECK_EQUAL(within(*micro_model(2), {}), 1);
  CHECK_EQUAL(at::get_num_threads(), 3);
}

TEST(backward_passes_take_the_threads_of_the_pass_that_was_recorded) {
  cpu_only("its threads");
  const Threads three(3);
  const auto wide = wide_model();
  const auto small = random_transformer({}, at::kFloat);
  within(*small, tokens(8, 8));
  {
    const c10::NoGradGuard no_grad;
    within(*wide, tokens(8, 8));
  }
  {
    const bridge::PassThreads backward;
    CHECK_EQUAL(at::get_num_threads(), 1);
  }
  within(*wide, tokens(8, 8));
  const bridge::PassThreads backward;
  CHECK_EQUAL(at::get_num_threads(), 3);
}

// The last: there is no way back.
TEST(zz_a_number_that_was_set_is_every_pass_s) {
  cpu_only("its threads");
  const auto small = random_transformer({}, at::kFloat);
  bridge::set_pool_sizes(2);
  CHECK_EQUAL(within(*small, tokens(8, 8)), 2);
}

} // namespace autocircuit::test
