#include "autocircuit/kernels/row_kernels.h"

#include <algorithm>
#include <cmath>
#include <cstring>

namespace autocircuit::kernels {

namespace {

// Vectors of W floats in the compiler's own notation; it maps them to whatever
// registers the instruction set of the calling function has.
template <int W>
struct Vector {
  typedef float type __attribute__((vector_size(W * sizeof(float))));
};

#define AUTOCIRCUIT_INLINE inline __attribute__((always_inline))

// Loops over vectors that shall stay in registers: an array that a loop indexes
// goes through memory.
#define AUTOCIRCUIT_UNROLL _Pragma("GCC unroll 16")

template <int W>
AUTOCIRCUIT_INLINE void load(typename Vector<W>::type& v, const float* p) {
  std::memcpy(&v, p, sizeof v);
}

template <int W>
AUTOCIRCUIT_INLINE void store(float* p, const typename Vector<W>::type& v) {
  std::memcpy(p, &v, sizeof v);
}

// Halves are added until one number is left.
template <int W>
AUTOCIRCUIT_INLINE float sum_of(const typename Vector<W>::type& v) {
  if constexpr (W == 1) {
    return v[0];
  } else {
    typename Vector<W / 2>::type halves[2];
    std::memcpy(halves, &v, sizeof v);
    halves[0] += halves[1];
    return sum_of<W / 2>(halves[0]);
  }
}

// R rows times one tile of V vectors of columns. weights: [n_in, R].
template <int R, int V, int W>
AUTOCIRCUIT_INLINE void weighted_tile(
    Rows out,
    const float* base,
    const float* weights,
    ConstRows in,
    int64_t n_in) {
  typename Vector<W>::type sums[R][V];
  AUTOCIRCUIT_UNROLL
  for (int r = 0; r < R; r++) {
    const float* first = base != nullptr ? base : out.data + r * out.stride;
    AUTOCIRCUIT_UNROLL
    for (int v = 0; v < V; v++) {
      load<W>(sums[r][v], first + v * W);
    }
  }
  const float* x = in.data;
  for (int64_t i = 0; i < n_in; i++, x += in.stride, weights += R) {
    typename Vector<W>::type columns[V];
    AUTOCIRCUIT_UNROLL
    for (int v = 0; v < V; v++) {
      load<W>(columns[v], x + v * W);
    }
    AUTOCIRCUIT_UNROLL
    for (int r = 0; r < R; r++) {
      AUTOCIRCUIT_UNROLL
      for (int v = 0; v < V; v++) {
        sums[r][v] += weights[r] * columns[v];
      }
    }
  }
  AUTOCIRCUIT_UNROLL
  for (int r = 0; r < R; r++) {
    AUTOCIRCUIT_UNROLL
    for (int v = 0; v < V; v++) {
      store<W>(out.data + r * out.stride + v * W, sums[r][v]);
    }
  }
}

template <int R, int V, int W>
AUTOCIRCUIT_INLINE void weighted_block(
    Rows out,
    const float* base,
    const float* weights,
    ConstRows in,
    int64_t n_in,
    int64_t d) {
  const auto shifted = [&](int64_t c) {
    return base != nullptr ? base + c : nullptr;
  };
  int64_t c = 0;
  for (; c + V * W <= d; c += V * W) {
    weighted_tile<R, V, W>(
        {out.data + c, out.stride},
        shifted(c),
        weights,
        {in.data + c, in.stride},
        n_in);
  }
  for (; c < d; c++) {
    weighted_tile<R, 1, 1>(
        {out.data + c, out.stride},
        shifted(c),
        weights,
        {in.data + c, in.stride},
        n_in);
  }
}

template <int R, int V, int W>
AUTOCIRCUIT_INLINE void weighted_rows_of(
    Rows out,
    const float* base,
    const float* weights,
    int64_t row_stride,
    int64_t column_stride,
    ConstRows in,
    int64_t n_out,
    int64_t n_in,
    int64_t d,
    float* scratch) {
  const auto pack = [&](int64_t row, int rows) {
    for (int64_t i = 0; i < n_in; i++) {
      for (int r = 0; r < rows; r++) {
        scratch[i * rows + r] =
            weights[(row + r) * row_stride + i * column_stride];
      }
    }
  };
  int64_t row = 0;
  const auto rest = [&]() {
    return Rows{out.data + row * out.stride, out.stride};
  };
  for (; row + R <= n_out; row += R) {
    pack(row, R);
    weighted_block<R, V, W>(rest(), base, scratch, in, n_in, d);
  }
  for (; row + 4 <= n_out; row += 4) {
    pack(row, 4);
    weighted_block<4, V, W>(rest(), base, scratch, in, n_in, d);
  }
  for (; row < n_out; row++) {
    pack(row, 1);
    weighted_block<1, V, W>(rest(), base, scratch, in, n_in, d);
  }
}

template <int R, int W>
AUTOCIRCUIT_INLINE void terms_tile(
    float* out,
    const float* base,
    const int64_t* terms,
    const float* weights,
    int64_t n,
    ConstRows in) {
  typename Vector<W>::type sums[R];
  AUTOCIRCUIT_UNROLL
  for (int r = 0; r < R; r++) {
    load<W>(sums[r], base + r * W);
  }
  for (int64_t t = 0; t < n; t++) {
    const float* x = in.data + terms[t] * in.stride;
    AUTOCIRCUIT_UNROLL
    for (int r = 0; r < R; r++) {
      typename Vector<W>::type v;
      load<W>(v, x + r * W);
      sums[r] += weights[t] * v;
    }
  }
  AUTOCIRCUIT_UNROLL
  for (int r = 0; r < R; r++) {
    store<W>(out + r * W, sums[r]);
  }
}

template <int R, int W>
AUTOCIRCUIT_INLINE void weighted_terms_of(
    Rows out,
    const float* base,
    const int64_t* starts,
    const int64_t* terms,
    const float* weights,
    ConstRows in,
    int64_t n_out,
    int64_t d) {
  for (int64_t row = 0; row < n_out; row++) {
    float* y = out.data + row * out.stride;
    const int64_t n = starts[row + 1] - starts[row];
    const int64_t* of_row = terms + starts[row];
    const float* w = weights + starts[row];
    int64_t c = 0;
    for (; c + R * W <= d; c += R * W) {
      terms_tile<R, W>(y + c, base + c, of_row, w, n, {in.data + c, in.stride});
    }
    for (; c < d; c++) {
      terms_tile<1, 1>(y + c, base + c, of_row, w, n, {in.data + c, in.stride});
    }
  }
}

template <int A, int B, int W>
AUTOCIRCUIT_INLINE void product_block(
    float* products,
    int64_t n_b,
    ConstRows a,
    ConstRows b,
    int64_t d) {
  typename Vector<W>::type sums[A][B] = {};
  int64_t c = 0;
  for (; c + W <= d; c += W) {
    typename Vector<W>::type right[B];
    AUTOCIRCUIT_UNROLL
    for (int j = 0; j < B; j++) {
      const float* x = b.data + j * b.stride + c;
      load<W>(right[j], x);
      __builtin_prefetch(x + B * b.stride); // the rows of the next block
    }
    AUTOCIRCUIT_UNROLL
    for (int i = 0; i < A; i++) {
      typename Vector<W>::type left;
      load<W>(left, a.data + i * a.stride + c);
      AUTOCIRCUIT_UNROLL
      for (int j = 0; j < B; j++) {
        sums[i][j] += left * right[j];
      }
    }
  }
  AUTOCIRCUIT_UNROLL
  for (int i = 0; i < A; i++) {
    AUTOCIRCUIT_UNROLL
    for (int j = 0; j < B; j++) {
      float sum = sum_of<W>(sums[i][j]);
      for (int64_t rest = c; rest < d; rest++) {
        sum += a.data[i * a.stride + rest] * b.data[j * b.stride + rest];
      }
      products[i * n_b + j] += sum;
    }
  }
}

template <int A, int W>
AUTOCIRCUIT_INLINE void product_rows(
    float* products,
    ConstRows a,
    ConstRows b,
    int64_t n_b,
    int64_t d) {
  int64_t j = 0;
  for (; j + 3 <= n_b; j += 3) {
    product_block<A, 3, W>(
        products + j, n_b, a, {b.data + j * b.stride, b.stride}, d);
  }
  for (; j < n_b; j++) {
    product_block<A, 1, W>(
        products + j, n_b, a, {b.data + j * b.stride, b.stride}, d);
  }
}

template <int W>
AUTOCIRCUIT_INLINE void add_row_products_of(
    float* products,
    ConstRows a,
    int64_t n_a,
    ConstRows b,
    int64_t n_b,
    int64_t d) {
  int64_t i = 0;
  for (; i + 4 <= n_a; i += 4) {
    product_rows<4, W>(
        products + i * n_b, {a.data + i * a.stride, a.stride}, b, n_b, d);
  }
  for (; i < n_a; i++) {
    product_rows<1, W>(
        products + i * n_b, {a.data + i * a.stride, a.stride}, b, n_b, d);
  }
}

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
    const float along = reduce<W>(d, product) / size;
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

AUTOCIRCUIT_INLINE void sum_rows_of(
    float* out,
    ConstRows rows,
    int64_t n,
    int64_t d) {
  std::copy_n(rows.data, d, out);
  for (int64_t r = 1; r < n; r++) {
    const float* x = rows.data + r * rows.stride;
    for (int64_t c = 0; c < d; c++) {
      out[c] += x[c];
    }
  }
}

AUTOCIRCUIT_INLINE void sum_and_subtract_rows_of(
    float* out,
    Rows rows,
    ConstRows patch,
    int64_t n,
    int64_t d) {
  std::fill_n(out, d, 0.0F);
  for (int64_t r = 0; r < n; r++) {
    float* x = rows.data + r * rows.stride;
    const float* p = patch.data + r * patch.stride;
    for (int64_t c = 0; c < d; c++) {
      out[c] += x[c];
      x[c] = p[c] - x[c];
    }
  }
}

enum class InstructionSet { kBaseline, kAvx2, kAvx512 };

InstructionSet instruction_set() {
  static const InstructionSet set = [] {
    __builtin_cpu_init();
    if (__builtin_cpu_supports("avx512f")) {
      return InstructionSet::kAvx512;
    }
    return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma")
        ? InstructionSet::kAvx2
        : InstructionSet::kBaseline;
  }();
  return set;
}

} // namespace

// A function NAME for each instruction set, and one that chooses. Twelve rows
// of sums fill the registers of AVX-512, six of two vectors each those of AVX2.
#define AUTOCIRCUIT_KERNEL(NAME, PARAMETERS, ARGUMENTS, WIDE, NARROW)      \
  static __attribute__((                                                   \
      target("avx512f,avx2,fma"))) void NAME##_avx512 PARAMETERS {         \
    WIDE ARGUMENTS;                                                        \
  }                                                                        \
  static __attribute__((target("avx2,fma"))) void NAME##_avx2 PARAMETERS { \
    NARROW ARGUMENTS;                                                      \
  }                                                                        \
  static void NAME##_baseline PARAMETERS {                                 \
    NARROW ARGUMENTS;                                                      \
  }                                                                        \
  void NAME PARAMETERS {                                                   \
    switch (instruction_set()) {                                           \
      case InstructionSet::kAvx512:                                        \
        return NAME##_avx512 ARGUMENTS;                                    \
      case InstructionSet::kAvx2:                                          \
        return NAME##_avx2 ARGUMENTS;                                      \
      case InstructionSet::kBaseline:                                      \
        return NAME##_baseline ARGUMENTS;                                  \
    }                                                                      \
  }

AUTOCIRCUIT_KERNEL(
    weighted_rows,
    (Rows out,
     const float* base,
     const float* weights,
     int64_t row_stride,
     int64_t column_stride,
     ConstRows in,
     int64_t n_out,
     int64_t n_in,
     int64_t d,
     float* scratch),
    (out,
     base,
     weights,
     row_stride,
     column_stride,
     in,
     n_out,
     n_in,
     d,
     scratch),
    (weighted_rows_of<12, 1, 16>),
    (weighted_rows_of<6, 2, 8>))

AUTOCIRCUIT_KERNEL(
    weighted_terms,
    (Rows out,
     const float* base,
     const int64_t* starts,
     const int64_t* terms,
     const float* weights,
     ConstRows in,
     int64_t n_out,
     int64_t d),
    (out, base, starts, terms, weights, in, n_out, d),
    (weighted_terms_of<8, 16>),
    (weighted_terms_of<4, 8>))

AUTOCIRCUIT_KERNEL(
    add_row_products,
    (float* products,
     ConstRows a,
     int64_t n_a,
     ConstRows b,
     int64_t n_b,
     int64_t d),
    (products, a, n_a, b, n_b, d),
    (add_row_products_of<16>),
    (add_row_products_of<8>))

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

AUTOCIRCUIT_KERNEL(
    sum_rows,
    (float* out, ConstRows rows, int64_t n, int64_t d),
    (out, rows, n, d),
    (sum_rows_of),
    (sum_rows_of))

AUTOCIRCUIT_KERNEL(
    sum_and_subtract_rows,
    (float* out, Rows rows, ConstRows patch, int64_t n, int64_t d),
    (out, rows, patch, n, d),
    (sum_and_subtract_rows_of),
    (sum_and_subtract_rows_of))

} // namespace autocircuit::kernels
