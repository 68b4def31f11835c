#include "autocircuit/kernels/product_kernels.h"

#include <algorithm>
#include <cstring>

#include "autocircuit/kernels/simd.h"

namespace autocircuit::kernels {

namespace {

// Sizes multiplied at a time: these rows and columns of x stay in the second
// level cache, a tile of the panel in the first.
constexpr int64_t kTokens = 240;
constexpr int64_t kDepth = 256;
constexpr int64_t kPanel = 64;
// Rows of x a power of two apart would fall on the same lines of the cache.
constexpr int64_t kStride = kDepth + 16;

constexpr float kZeros[kPanel] = {};

// Fetches what hardware does not foresee if rows are far apart.
AUTOCIRCUIT_INLINE void prefetch_row(const float* row, int64_t n) {
  for (int64_t i = 0; i < n; i += 16) {
    __builtin_prefetch(row + i);
  }
}

// Some rows and columns of x, one row after another.
AUTOCIRCUIT_INLINE void gather(
    float* rows,
    ConstRows x,
    int64_t tokens,
    int64_t depth) {
  for (int64_t t = 0; t < tokens; t++) {
    const float* row = x.data + t * x.stride;
    prefetch_row(row + 2 * x.stride, depth);
    std::memcpy(
        rows + t * kStride, row, static_cast<size_t>(depth) * sizeof(float));
  }
}

// W rows of W numbers, transposed: log W times, each row of the upper half is
// interleaved with that of the lower half.
template <int W>
AUTOCIRCUIT_INLINE void transpose(Rows out, ConstRows in) {
  typename Vector<W>::type rows[W];
  AUTOCIRCUIT_UNROLL
  for (int r = 0; r < W; r++) {
    load<W>(rows[r], in.data + r * in.stride);
  }
  AUTOCIRCUIT_UNROLL
  for (int step = 1; step < W; step *= 2) {
    typename Vector<W>::type mixed[W];
    AUTOCIRCUIT_UNROLL
    for (int r = 0; r < W / 2; r++) {
      const auto& a = rows[r];
      const auto& b = rows[r + W / 2];
      interleave<0, W>(mixed[2 * r], a, b, std::make_index_sequence<W>());
      interleave<W / 2, W>(
          mixed[2 * r + 1], a, b, std::make_index_sequence<W>());
    }
    AUTOCIRCUIT_UNROLL
    for (int r = 0; r < W; r++) {
      rows[r] = mixed[r];
    }
  }
  AUTOCIRCUIT_UNROLL
  for (int r = 0; r < W; r++) {
    store<W>(out.data + r * out.stride, rows[r]);
  }
}

// Some rows and columns of the weights, as tiles of V vectors of columns one
// after another; a tile that is not full ends in zeros.
template <int V, int W>
AUTOCIRCUIT_INLINE void pack(
    float* panel,
    ConstMatrix w,
    int64_t depth,
    int64_t width) {
  constexpr int64_t kColumns = V * W;
  const int64_t full = width / kColumns * kColumns;
  if (w.column_stride == 1) {
    for (int64_t i = 0; i < depth; i++) {
      const float* row = w.data + i * w.row_stride;
      prefetch_row(row + 8 * w.row_stride, full);
      for (int64_t c = 0; c < full; c += kColumns) {
        std::memcpy(
            panel + c * depth + i * kColumns,
            row + c,
            kColumns * sizeof(float));
      }
    }
  } else {
    const int64_t blocks = depth / W * W;
    for (int64_t c = 0; c < full; c += W) {
      const float* columns = w.data + c * w.column_stride;
      float* tile = panel + c / kColumns * kColumns * depth + c % kColumns;
      for (int64_t i = 0; i < blocks; i += W) {
        transpose<W>(
            {tile + i * kColumns, kColumns}, {columns + i, w.column_stride});
      }
      for (int64_t i = blocks; i < depth; i++) {
        for (int64_t j = 0; j < W; j++) {
          tile[i * kColumns + j] = columns[i + j * w.column_stride];
        }
      }
    }
  }
  if (full < width) {
    for (int64_t i = 0; i < depth; i++) {
      for (int64_t j = 0; j < kColumns; j++) {
        panel[full * depth + i * kColumns + j] = full + j < width
            ? w.data[i * w.row_stride + (full + j) * w.column_stride]
            : 0.0F;
      }
    }
  }
}

template <int R, int V, int W>
AUTOCIRCUIT_INLINE void multiply_rows(
    Rows out,
    const float* first,
    const float* x,
    const float* panel,
    int64_t depth,
    int64_t width) {
  constexpr int kColumns = V * W;
  for (int64_t c = 0; c < width; c += kColumns, panel += depth * kColumns) {
    const int64_t columns = std::min<int64_t>(width - c, kColumns);
    const float* base = first != nullptr ? first + c : nullptr;
    const Rows to{out.data + c, out.stride};
    if (columns == kColumns) {
      weighted_tile<R, V, W>(
          to,
          [&](int r) __attribute__((always_inline)) {
            return base != nullptr ? base : to.data + r * to.stride;
          },
          {x, kStride, 1},
          {panel, kColumns},
          depth);
      continue;
    }
    float edge[R * kColumns] = {};
    const auto size = static_cast<size_t>(columns) * sizeof(float);
    for (int r = 0; r < R; r++) {
      std::memcpy(
          edge + r * kColumns,
          base != nullptr ? base : to.data + r * to.stride,
          size);
    }
    weighted_tile<R, V, W>(
        {edge, kColumns},
        [&](int r)
            __attribute__((always_inline)) { return edge + r * kColumns; },
        {x, kStride, 1},
        {panel, kColumns},
        depth);
    for (int r = 0; r < R; r++) {
      std::memcpy(to.data + r * to.stride, edge + r * kColumns, size);
    }
  }
}

template <int R, int V, int W>
AUTOCIRCUIT_INLINE void packed_product_of(
    Rows out,
    ConstRows x,
    ConstMatrix weights,
    const float* bias,
    int64_t tokens,
    int64_t k,
    int64_t n,
    float* scratch) {
  float* panel = scratch + kTokens * kStride;
  // Blocks of one size, since the weights are packed for each.
  const int64_t blocks = (tokens + kTokens - 1) / kTokens;
  for (int64_t block = 0; block < blocks; block++) {
    const int64_t t = block * tokens / blocks;
    const int64_t some = (block + 1) * tokens / blocks - t;
    for (int64_t i = 0; i < k; i += kDepth) {
      const int64_t depth = std::min(k - i, kDepth);
      gather(scratch, {x.data + t * x.stride + i, x.stride}, some, depth);
      for (int64_t c = 0; c < n; c += kPanel) {
        const int64_t width = std::min(n - c, kPanel);
        pack<V, W>(
            panel,
            {weights.data + i * weights.row_stride + c * weights.column_stride,
             weights.row_stride,
             weights.column_stride},
            depth,
            width);
        const float* first = i > 0 ? nullptr
            : bias != nullptr      ? bias + c
                                   : kZeros;
        for_row_blocks<R>(
            some, [&]<int N>(int64_t row) __attribute__((always_inline)) {
              multiply_rows<N, V, W>(
                  {out.data + (t + row) * out.stride + c, out.stride},
                  first,
                  scratch + row * kStride,
                  panel,
                  depth,
                  width);
            });
      }
    }
  }
}

} // namespace

int64_t packed_product_scratch() {
  return kTokens * kStride + kDepth * kPanel;
}

AUTOCIRCUIT_KERNEL(
    packed_product,
    (Rows out,
     ConstRows x,
     ConstMatrix weights,
     const float* bias,
     int64_t tokens,
     int64_t k,
     int64_t n,
     float* scratch),
    (out, x, weights, bias, tokens, k, n, scratch),
    (packed_product_of<12, 2, 16>),
    (packed_product_of<6, 2, 8>))

} // namespace autocircuit::kernels
