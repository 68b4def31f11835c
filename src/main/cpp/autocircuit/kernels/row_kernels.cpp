#include "autocircuit/kernels/row_kernels.h"

#include <algorithm>

#include "autocircuit/kernels/simd.h"

namespace autocircuit::kernels {

namespace {

// So many rows are read at a time: they stay in the cache for all rows that
// read them, and each is foreseen while it is read from one end to the other.
constexpr int64_t kStreams = 12;

// R rows times some columns. weights: [n_in, R].
template <int R, int V, int W>
AUTOCIRCUIT_INLINE void weighted_block(
    Rows out,
    const float* const* bases,
    const float* weights,
    ConstRows in,
    int64_t n_in,
    int64_t columns) {
  int64_t c = 0;
  const auto base = [&](int r) __attribute__((always_inline)) {
    return (bases != nullptr ? bases[r] : out.data + r * out.stride) + c;
  };
  for (; c + V * W <= columns; c += V * W) {
    weighted_tile<R, V, W>(
        {out.data + c, out.stride},
        base,
        {weights, 1, R},
        {in.data + c, in.stride},
        n_in);
  }
  for (; c < columns; c++) {
    weighted_tile<R, 1, 1>(
        {out.data + c, out.stride},
        base,
        {weights, 1, R},
        {in.data + c, in.stride},
        n_in);
  }
}

template <int R, int V, int W>
AUTOCIRCUIT_INLINE void weighted_rows_of(
    Rows out,
    const float* const* bases,
    ConstMatrix weights,
    ConstRows in,
    int64_t n_out,
    int64_t n_in,
    int64_t d,
    float* scratch) {
  for_row_blocks<R>(
      n_out, [&]<int N>(int64_t row) __attribute__((always_inline)) {
        for (int64_t i = 0; i < n_in; i++) {
          for (int r = 0; r < N; r++) {
            scratch[row * n_in + i * N + r] =
                weights.data
                    [(row + r) * weights.row_stride +
                     i * weights.column_stride];
          }
        }
      });
  for (int64_t i = 0; i < n_in; i += kStreams) {
    const int64_t n = std::min(kStreams, n_in - i);
    for_row_blocks<R>(
        n_out, [&]<int N>(int64_t row) __attribute__((always_inline)) {
          weighted_block<N, V, W>(
              {out.data + row * out.stride, out.stride},
              i > 0 || bases == nullptr ? nullptr : bases + row,
              scratch + row * n_in + i * N,
              {in.data + i * in.stride, in.stride},
              n,
              d);
        });
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
    const float* const* bases,
    const int64_t* starts,
    const int64_t* terms,
    const float* weights,
    ConstRows in,
    int64_t n_out,
    int64_t d) {
  for (int64_t row = 0; row < n_out; row++) {
    float* y = out.data + row * out.stride;
    int64_t t = starts[row];
    do {
      const int64_t n = std::min(starts[row + 1] - t, kStreams);
      const float* first = t == starts[row] ? bases[row] : y;
      int64_t c = 0;
      for (; c + R * W <= d; c += R * W) {
        terms_tile<R, W>(
            y + c,
            first + c,
            terms + t,
            weights + t,
            n,
            {in.data + c, in.stride});
      }
      for (; c < d; c++) {
        terms_tile<1, 1>(
            y + c,
            first + c,
            terms + t,
            weights + t,
            n,
            {in.data + c, in.stride});
      }
      t += n;
    } while (t < starts[row + 1]);
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

template <int A, int B, int W>
AUTOCIRCUIT_INLINE void product_rows(
    float* products,
    ConstRows a,
    ConstRows b,
    int64_t n_b,
    int64_t d) {
  int64_t j = 0;
  for (; j + B <= n_b; j += B) {
    product_block<A, B, W>(
        products + j, n_b, a, {b.data + j * b.stride, b.stride}, d);
  }
  for (; j < n_b; j++) {
    product_block<A, 1, W>(
        products + j, n_b, a, {b.data + j * b.stride, b.stride}, d);
  }
}

template <int A, int B, int W>
AUTOCIRCUIT_INLINE void add_row_products_of(
    float* products,
    ConstRows a,
    int64_t n_a,
    ConstRows b,
    int64_t n_b,
    int64_t d) {
  for_row_blocks<A>(
      n_a, [&]<int N>(int64_t i) __attribute__((always_inline)) {
        product_rows<N, B, W>(
            products + i * n_b, {a.data + i * a.stride, a.stride}, b, n_b, d);
      });
}

AUTOCIRCUIT_INLINE void add_rows_of(
    float* out,
    ConstRows rows,
    int64_t n,
    int64_t d) {
  for (int64_t r = 0; r < n; r++) {
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

} // namespace

// Twelve rows of sums, or products of six rows with four, fill the registers
// of AVX-512, six rows of two vectors each or four rows with three those of
// AVX2.
AUTOCIRCUIT_KERNEL(
    weighted_rows,
    (Rows out,
     const float* const* bases,
     ConstMatrix weights,
     ConstRows in,
     int64_t n_out,
     int64_t n_in,
     int64_t d,
     float* scratch),
    (out, bases, weights, in, n_out, n_in, d, scratch),
    (weighted_rows_of<12, 1, 16>),
    (weighted_rows_of<6, 2, 8>))

AUTOCIRCUIT_KERNEL(
    weighted_terms,
    (Rows out,
     const float* const* bases,
     const int64_t* starts,
     const int64_t* terms,
     const float* weights,
     ConstRows in,
     int64_t n_out,
     int64_t d),
    (out, bases, starts, terms, weights, in, n_out, d),
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
    (add_row_products_of<6, 4, 16>),
    (add_row_products_of<4, 3, 8>))

AUTOCIRCUIT_KERNEL(
    add_rows,
    (float* out, ConstRows rows, int64_t n, int64_t d),
    (out, rows, n, d),
    (add_rows_of),
    (add_rows_of))

AUTOCIRCUIT_KERNEL(
    sum_and_subtract_rows,
    (float* out, Rows rows, ConstRows patch, int64_t n, int64_t d),
    (out, rows, patch, n, d),
    (sum_and_subtract_rows_of),
    (sum_and_subtract_rows_of))

} // namespace autocircuit::kernels
