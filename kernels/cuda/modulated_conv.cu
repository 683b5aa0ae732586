// A style and a norm folded into a convolution's weights, in one pass: a block keeps a row in its registers.
#include "element.cuh"

constexpr int THREADS = 256;
constexpr int COUNT = 8;  // weights that a thread moves at once

enum Norm { NONE, FILTERS, STYLED };

// Gives the sum over the block to all of its threads, always in the same order.
__device__ __forceinline__ float block_sum(float value) {
  __shared__ float sums[THREADS / 32];
#pragma unroll
  for (int step = 16; step > 0; step /= 2) value += __shfl_xor_sync(0xffffffff, value, step);
  if (threadIdx.x % 32 == 0) sums[threadIdx.x / 32] = value;
  __syncthreads();
  float total = 0;
#pragma unroll
  for (int warp = 0; warp < THREADS / 32; warp++) total += sums[warp];
  return total;
}

// `weight` has a row of `size` weights for each block, a multiple of COUNT and at most VECTORS * THREADS * COUNT: a
// filter, whose input channels lie `inner` weights apart, or with ROW_IS_CHANNEL the weights of an input channel.
template <typename T, Norm NORM, bool ROW_IS_CHANNEL, int VECTORS>
__global__ void __launch_bounds__(THREADS, 2) modulated_weights(
    const T *__restrict__ weight, const float *__restrict__ style, T *__restrict__ folded, int size, int channels,
    int inner) {
  const T *from = weight + static_cast<long long>(blockIdx.x) * size;
  T *to = folded + static_cast<long long>(blockIdx.x) * size;
  float values[VECTORS][COUNT];
  float total = 0;
#pragma unroll
  for (int v = 0; v < VECTORS; v++) {
    const int place = (v * THREADS + threadIdx.x) * COUNT;
    Vector<T, COUNT> read{};
    if (place < size) {
      if constexpr (sizeof(T) * COUNT <= 16) {
        read = load<T, COUNT>(from + place);
      } else {
        const auto low = load<T, COUNT / 2>(from + place), high = load<T, COUNT / 2>(from + place + COUNT / 2);
#pragma unroll
        for (int i = 0; i < COUNT / 2; i++) read.part[i] = low.part[i], read.part[i + COUNT / 2] = high.part[i];
      }
    }
#pragma unroll
    for (int i = 0; i < COUNT; i++) {
      float value = widened(read.part[i]);
      if (NORM == FILTERS) total += value * value;
      if (style != nullptr && !ROW_IS_CHANNEL && place < size) value *= style[(place + i) / inner % channels];
      if (NORM == STYLED) total += value * value;
      values[v][i] = value;
    }
  }
  float factor = ROW_IS_CHANNEL && style != nullptr ? style[blockIdx.x] : 1.f;
  if (NORM != NONE) factor *= rsqrtf(block_sum(total) + (NORM == STYLED ? 1e-8f : 1e-8f * size));
#pragma unroll
  for (int v = 0; v < VECTORS; v++) {
    const int place = (v * THREADS + threadIdx.x) * COUNT;
    Vector<T, COUNT> written;
#pragma unroll
    for (int i = 0; i < COUNT; i++) written.part[i] = rounded<T>(values[v][i] * factor);
    if (place >= size) continue;
    if constexpr (sizeof(T) * COUNT <= 16) {
      store<T, COUNT>(to + place, written);
    } else {
      Vector<T, COUNT / 2> low, high;
#pragma unroll
      for (int i = 0; i < COUNT / 2; i++) low.part[i] = written.part[i], high.part[i] = written.part[i + COUNT / 2];
      store<T, COUNT / 2>(to + place, low);
      store<T, COUNT / 2>(to + place + COUNT / 2, high);
    }
  }
}
