#pragma once

#include <cstdint>

#include "autocircuit/kernels/rows.h"

namespace autocircuit::kernels {

/// Keys of one head beside each other; see Sequence::keys.
constexpr int64_t kKeyLanes = 64;

/// Some queries of one position that look back at one head's keys, from
/// position `from` up to `to`.
struct Attention {
  const float* keys;   // blocks of [d_head][kKeyLanes]
  const float* values; // [positions][d_head]
  int64_t from;
  int64_t to;
  int64_t d_head;
  float soft_cap; // 0: none
};

/// Scores of n queries, those of positions from..to, become e^(score -
/// greatest); what is beside them, up to multiples of a vector's width, 0.
/// sums: of each query's.
void softmax_weights(
    Rows scores,
    int64_t n,
    int64_t from,
    int64_t to,
    float soft_cap,
    float* sums);

/// Returns how many floats `attend` needs as scratch.
int64_t attention_scratch(int64_t queries, int64_t to, int64_t d_head);

/// z[i] = sum over positions of softmax(q[i] . key) * value, for n queries,
/// which are scaled. Positions count in ascending order, in blocks that begin
/// at multiples of kKeyLanes, so nothing depends on how many there are behind
/// `to`.
void attend(
    Rows z,
    ConstRows q,
    int64_t n,
    const Attention& attention,
    float* scratch);

} // namespace autocircuit::kernels
