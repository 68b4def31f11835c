#include "autocircuit/kernels/norm_kernels.h"

#include <cmath>

#include "autocircuit/kernels/simd.h"

namespace autocircuit::kernels {

namespace {

// A function of a template parameter, how many numbers it handles at once.
#define AUTOCIRCUIT_OF_WIDTH(PARAMETERS) \
  [&]<int N> PARAMETERS __attribute__((always_inline))

// Calls f<W>(c) for vectors at c, and f<1>(c) for what is left of d numbers.
template <int W, typename F>
AUTOCIRCUIT_INLINE void for_vectors(int64_t d, const F& f) {
  int64_t c = 0;
  for (; c + W <= d; c += W) {
    f.template operator()<W>(c);
  }
  for (; c < d; c++) {
    f.template operator()<1>(c);
  }
}

// The sum of d numbers, of which f<N>(v, c) gives those from c on; in partial
// sums that do not wait for each other.
template <int W, typename F>
AUTOCIRCUIT_INLINE float reduce(int64_t d, const F& f) {
  constexpr int kSums = 4;
  typename Vector<W>::type sums[kSums] = {};
  int64_t c = 0;
  for (; c + kSums * W <= d; c += kSums * W) {
    AUTOCIRCUIT_UNROLL
    for (int s = 0; s < kSums; s++) {
      typename Vector<W>::type v;
      f.template operator()<W>(v, c + s * W);
      sums[s] += v;
    }
  }
  float sum = sum_of<W>(sums[0] + sums[1] + (sums[2] + sums[3]));
  for (; c < d; c++) {
    typename Vector<1>::type v;
    f.template operator()<1>(v, c);
    sum += v[0];
  }
  return sum;
}

struct Moments {
  float mean;
  float inverse; // of the standard deviation, or of the root mean square
};

template <int W>
AUTOCIRCUIT_INLINE Moments
moments(const float* x, int64_t d, const NormParameters& norm) {
  const auto size = static_cast<float>(d);
  const auto value =
      AUTOCIRCUIT_OF_WIDTH((typename Vector<N>::type & v, int64_t c)) {
    load<N>(v, x + c);
  };
  const float mean = norm.centred ? reduce<W>(d, value) / size : 0.0F;
  const auto square =
      AUTOCIRCUIT_OF_WIDTH((typename Vector<N>::type & v, int64_t c)) {
    load<N>(v, x + c);
    v -= mean;
    v *= v;
  };
  return {mean, 1 / std::sqrt(reduce<W>(d, square) / size + norm.eps)};
}

template <int W>
AUTOCIRCUIT_INLINE void norm_rows_of(
    Rows rows,
    int64_t n,
    int64_t d,
    const NormParameters& norm) {
  for (int64_t r = 0; r < n; r++) {
    float* x = rows.data + r * rows.stride;
    const Moments m = moments<W>(x, d, norm);
    for_vectors<W>(
        d, AUTOCIRCUIT_OF_WIDTH((int64_t c)) {
          typename Vector<N>::type v;
          load<N>(v, x + c);
          v = (v - m.mean) * m.inverse;
          typename Vector<N>::type parameter;
          if (norm.weight != nullptr) {
            load<N>(parameter, norm.weight + c);
            v *= parameter;
          }
          if (norm.bias != nullptr) {
            load<N>(parameter, norm.bias + c);
            v += parameter;
          }
          store<N>(x + c, v);
        });
  }
}

template <int W>
AUTOCIRCUIT_INLINE void norm_rows_backward_of(
    Rows rows,
    ConstRows grad,
    int64_t n,
    int64_t d,
    const NormParameters& norm) {
  const auto size = static_cast<float>(d);
  for (int64_t r = 0; r < n; r++) {
    float* x = rows.data + r * rows.stride;
    const float* g = grad.data + r * grad.stride;
    const Moments m = moments<W>(x, d, norm);
    const auto weighted =
        AUTOCIRCUIT_OF_WIDTH((typename Vector<N>::type & v, int64_t c)) {
      load<N>(v, g + c);
      if (norm.weight != nullptr) {
        typename Vector<N>::type weight;
        load<N>(weight, norm.weight + c);
        v *= weight;
      }
    };
    const auto normed =
        AUTOCIRCUIT_OF_WIDTH((typename Vector<N>::type & v, int64_t c)) {
      load<N>(v, x + c);
      v = (v - m.mean) * m.inverse;
    };
    const auto product =
        AUTOCIRCUIT_OF_WIDTH((typename Vector<N>::type & v, int64_t c)) {
      typename Vector<N>::type y;
      weighted.template operator()<N>(v, c);
      normed.template operator()<N>(y, c);
      v *= y;
    };
    const float along = norm.frozen_scale ? 0.0F : reduce<W>(d, product) / size;
    const float mean = norm.centred ? reduce<W>(d, weighted) / size : 0.0F;
    for_vectors<W>(
        d, AUTOCIRCUIT_OF_WIDTH((int64_t c)) {
          typename Vector<N>::type v;
          typename Vector<N>::type y;
          weighted.template operator()<N>(v, c);
          normed.template operator()<N>(y, c);
          store<N>(x + c, m.inverse * (v - mean - along * y));
        });
  }
}

} // namespace

AUTOCIRCUIT_KERNEL(
    norm_rows,
    (Rows rows, int64_t n, int64_t d, const NormParameters& norm),
    (rows, n, d, norm),
    (norm_rows_of<16>),
    (norm_rows_of<8>))

AUTOCIRCUIT_KERNEL(
    norm_rows_backward,
    (Rows x, ConstRows grad, int64_t n, int64_t d, const NormParameters& norm),
    (x, grad, n, d, norm),
    (norm_rows_backward_of<16>),
    (norm_rows_backward_of<8>))

} // namespace autocircuit::kernels
