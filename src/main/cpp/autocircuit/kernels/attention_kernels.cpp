#include "autocircuit/kernels/attention_kernels.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "autocircuit/kernels/row_kernels.h"
#include "autocircuit/kernels/simd.h"

namespace autocircuit::kernels {

namespace {

template <int W>
struct IntVector {
  typedef int32_t type __attribute__((vector_size(W * sizeof(int32_t))));
};

// e^x of x <= 0, from e^x = 2^n * e^r with |r| <= ln(2) / 2, where e^r is a
// polynomial; within two units in the last place, and 0 where that would be
// subnormal.
template <int W>
AUTOCIRCUIT_INLINE void exp_of(typename Vector<W>::type& x) {
  using Floats = typename Vector<W>::type;
  using Ints = typename IntVector<W>::type;
  constexpr float kLowest = -87.0F;
  constexpr float kRound = 12582912.0F; // 1.5 * 2^23: sums have no fraction
  const Ints tiny = x < kLowest;
  x = tiny ? Floats{} + kLowest : x;
  const Floats n = (x * 1.44269504F + kRound) - kRound;
  Floats r = x - n * 0.693359375F; // exact: few digits
  r = r + n * 2.12194440e-4F;
  Floats p = r * (1.0F / 5040) + 1.0F / 720;
  p = p * r + 1.0F / 120;
  p = p * r + 1.0F / 24;
  p = p * r + 1.0F / 6;
  p = p * r + 0.5F;
  p = p * r * r + r + 1.0F;
  const Ints exponent = (__builtin_convertvector(n, Ints) + 127) << 23;
  Floats power;
  std::memcpy(&power, &exponent, sizeof power);
  x = tiny ? Floats{} : p * power;
}

// Scores of one query, from..to, become e^(score - greatest); what is beside
// them becomes 0 up to the next multiples of W. Returns the sum.
template <int W>
AUTOCIRCUIT_INLINE float weights_of_row(
    float* scores,
    int64_t from,
    int64_t to,
    float soft_cap) {
  if (soft_cap > 0) {
    for (int64_t i = from; i < to; i++) {
      scores[i] = std::tanh(scores[i] / soft_cap) * soft_cap;
    }
  }
  const int64_t first = from / W * W;
  const int64_t last = (to + W - 1) / W * W;
  constexpr float kNever = -std::numeric_limits<float>::infinity();
  std::fill(scores + first, scores + from, kNever);
  std::fill(scores + to, scores + last, kNever);
  typename Vector<W>::type most = {};
  most += kNever;
  typename Vector<W>::type v;
  for (int64_t i = first; i < last; i += W) {
    load<W>(v, scores + i);
    most = v > most ? v : most;
  }
  float greatest = kNever;
  for (int i = 0; i < W; i++) {
    greatest = std::max(greatest, most[i]);
  }
  typename Vector<W>::type sum = {};
  for (int64_t i = first; i < last; i += W) {
    load<W>(v, scores + i);
    v -= greatest;
    exp_of<W>(v);
    sum += v;
    store<W>(scores + i, v);
  }
  return sum_of<W>(sum);
}

template <int W>
AUTOCIRCUIT_INLINE void softmax_weights_of(
    Rows scores,
    int64_t n,
    int64_t from,
    int64_t to,
    float soft_cap,
    float* sums) {
  for (int64_t r = 0; r < n; r++) {
    sums[r] =
        weights_of_row<W>(scores.data + r * scores.stride, from, to, soft_cap);
  }
}

int64_t whole_blocks(int64_t positions) {
  return (positions + kKeyLanes - 1) / kKeyLanes * kKeyLanes;
}

} // namespace

AUTOCIRCUIT_KERNEL(
    softmax_weights,
    (Rows scores,
     int64_t n,
     int64_t from,
     int64_t to,
     float soft_cap,
     float* sums),
    (scores, n, from, to, soft_cap, sums),
    (softmax_weights_of<16>),
    (softmax_weights_of<8>))

int64_t attention_scratch(int64_t queries, int64_t to, int64_t d_head) {
  return 2 * queries * std::max(whole_blocks(to), d_head) + queries;
}

void attend(
    Rows z,
    ConstRows q,
    int64_t n,
    const Attention& attention,
    float* scratch) {
  const auto [keys, values, from, to, d_head, soft_cap] = attention;
  const int64_t positions = whole_blocks(to);
  const Rows scores{scratch, positions};
  float* sums = scratch + n * positions;
  float* rest = sums + n;
  for (int64_t r = 0; r < n; r++) {
    std::fill_n(scores.data + r * positions, positions, 0.0F);
    std::fill_n(z.data + r * z.stride, d_head, 0.0F);
  }
  for (int64_t i = from / kKeyLanes * kKeyLanes; i < to; i += kKeyLanes) {
    weighted_rows(
        {scores.data + i, positions},
        /*bases=*/nullptr,
        {q.data, q.stride, 1},
        {keys + i * d_head, kKeyLanes},
        n,
        d_head,
        kKeyLanes,
        rest);
  }
  softmax_weights(scores, n, from, to, soft_cap, sums);
  weighted_rows(
      z,
      /*bases=*/nullptr,
      {scores.data + from, positions, 1},
      {values + from * d_head, d_head},
      n,
      to - from,
      d_head,
      rest);
  for (int64_t r = 0; r < n; r++) {
    float* row = z.data + r * z.stride;
    for (int64_t i = 0; i < d_head; i++) {
      row[i] /= sums[r];
    }
  }
}

} // namespace autocircuit::kernels
