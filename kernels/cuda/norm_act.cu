// Instance norm (AdaIN is the same) and what follows it, channels last, in one pass: a cluster of blocks keeps some
// channels of an image in its registers, so that x is read once. `kernels/norm_act.py` says what is computed.
#include "element.cuh"
#include "cluster.cuh"

constexpr int THREADS = 512;

// Sums of `COUNT` values over the threads of all blocks of the cluster that have the same lane, in a fixed order.
template <int COUNT, int LANES, int BLOCKS> struct Sums {
  float of_warps[THREADS / 32][LANES * COUNT];
  float of_block[2][LANES * COUNT];  // one for each of the two sums: a block may be late to read the first one
  float of_cluster[LANES * COUNT];

  __device__ __forceinline__ void add(float (&value)[COUNT], int turn) {
    const int lane = threadIdx.x % LANES;
#pragma unroll
    for (int i = 0; i < COUNT; i++)
#pragma unroll
      for (int distance = 16; distance >= LANES; distance /= 2)
        value[i] += __shfl_xor_sync(0xffffffffu, value[i], distance);
    if (threadIdx.x % 32 < LANES)
#pragma unroll
      for (int i = 0; i < COUNT; i++) of_warps[threadIdx.x / 32][lane * COUNT + i] = value[i];
    __syncthreads();
    const int place = threadIdx.x;
    if (place < LANES * COUNT) {
      float sum = 0.f;
#pragma unroll
      for (int warp = 0; warp < THREADS / 32; warp++) sum += of_warps[warp][place];
      of_block[turn][place] = sum;
      of_cluster[place] = sum;
    }
    if (BLOCKS > 1) {
      cluster_arrive();
      cluster_wait();
      if (place < LANES * COUNT) {
        float sum = 0.f;
#pragma unroll
        for (int rank = 0; rank < BLOCKS; rank++) sum += cluster_read(&of_block[turn][place], rank);
        of_cluster[place] = sum;
      }
    }
    __syncthreads();
#pragma unroll
    for (int i = 0; i < COUNT; i++) value[i] = of_cluster[lane * COUNT + i];
  }
};

// Writes a vector to every place of the result that shows row i and column j: of the enlarged, then of the mirrored.
template <typename T, int COUNT>
__device__ __forceinline__ void write(T *y, const Vector<T, COUNT> &vector, int i, int j, int channels, int height,
                                      int width, int factor, int pad) {
  const int last_row = height * factor - 1, last_column = width * factor - 1, images = pad ? 3 : 1;
#pragma unroll 1
  for (int r = i * factor; r < (i + 1) * factor; r++)
#pragma unroll 1
    for (int above = 0; above < images; above++) {
      const int row = above == 0 ? r : above == 1 ? -r : 2 * last_row - r;
      if (row < -pad || row > last_row + pad || (above && row == r)) continue;
#pragma unroll 1
      for (int c = j * factor; c < (j + 1) * factor; c++)
#pragma unroll 1
        for (int beside = 0; beside < images; beside++) {
          const int column = beside == 0 ? c : beside == 1 ? -c : 2 * last_column - c;
          if (column < -pad || column > last_column + pad || (beside && column == c)) continue;
          const long long place = static_cast<long long>(row + pad) * (last_column + 1 + 2 * pad) + column + pad;
          store(y + place * channels, vector);
        }
    }
}

// `LANES` vectors of 16 bytes side by side make the channels of a cluster; each thread keeps `VECTORS` of them.
// The grid is [channels / (LANES * 16 / sizeof(T)) * BLOCKS, N].
template <typename T, typename A, int LANES, int VECTORS, int BLOCKS>
__global__ void CLUSTER_OF(BLOCKS) __launch_bounds__(THREADS, 1)
    norm_cluster(const T *__restrict__ x, const A *__restrict__ weight, const A *__restrict__ bias,
                 const T *__restrict__ residual, T *__restrict__ y, int channels, int height, int width, int row,
                 int residual_image, int residual_row, int residual_column, float eps, float slope, int one_plus,
                 int factor, int pad) {
  constexpr int COUNT = 16 / sizeof(T);
  __shared__ Sums<COUNT, LANES, BLOCKS> sums;
  const int channel = (blockIdx.x / BLOCKS * LANES + threadIdx.x % LANES) * COUNT;
  const int pixels = height * width;
  const int share = (pixels + BLOCKS - 1) / BLOCKS;
  const int stop = min(static_cast<int>(blockIdx.x % BLOCKS + 1) * share, pixels);
  const int first = blockIdx.x % BLOCKS * share + threadIdx.x / LANES;
  x += static_cast<long long>(blockIdx.y) * pixels * channels + channel;

  // everything is taken relative to the plane's first pixel: sums stay small where the mean is large
  const Vector<T, COUNT> pivot = load<T, COUNT>(x);
  Vector<T, COUNT> held[VECTORS];
#pragma unroll
  for (int v = 0; v < VECTORS; v++) {
    const int pixel = first + v * (THREADS / LANES);
    held[v] = pivot;
    if (pixel < stop) held[v] = load<T, COUNT>(x + static_cast<long long>(pixel) * channels);
  }
  float mean[COUNT], scale[COUNT], shift[COUNT];
#pragma unroll
  for (int i = 0; i < COUNT; i++) {
    mean[i] = 0.f;
#pragma unroll
    for (int v = 0; v < VECTORS; v++) mean[i] += widened(held[v].part[i]) - widened(pivot.part[i]);
  }
  sums.add(mean, 0);
#pragma unroll
  for (int i = 0; i < COUNT; i++) {
    mean[i] /= pixels;
    scale[i] = 0.f;
#pragma unroll
    for (int v = 0; v < VECTORS; v++) {
      const float away = widened(held[v].part[i]) - widened(pivot.part[i]) - mean[i];
      if (first + v * (THREADS / LANES) < stop) scale[i] += away * away;
    }
  }
  sums.add(scale, 1);
  if (BLOCKS > 1) cluster_arrive();  // this block has read what it needs of the others
  const long long style = static_cast<long long>(blockIdx.y) * row + channel;
#pragma unroll
  for (int i = 0; i < COUNT; i++) {
    scale[i] = rsqrtf(scale[i] / pixels + eps);
    if (weight) scale[i] *= widened(weight[style + i]) + (one_plus ? 1.f : 0.f);
    shift[i] = bias ? widened(bias[style + i]) : 0.f;
  }
  if (residual) residual += static_cast<long long>(blockIdx.y) * residual_image + channel;
  const int out_pixels = (height * factor + 2 * pad) * (width * factor + 2 * pad);
  y += static_cast<long long>(blockIdx.y) * out_pixels * channels + channel;
#pragma unroll
  for (int v = 0; v < VECTORS; v++) {
    const int pixel = first + v * (THREADS / LANES);
    if (pixel >= stop) continue;
    const int i = pixel / width, j = pixel % width;
    Vector<T, COUNT> beside;
    if (residual)
      beside = load<T, COUNT>(residual + static_cast<long long>(i) * residual_row +
                              static_cast<long long>(j) * residual_column);
#pragma unroll
    for (int k = 0; k < COUNT; k++) {
      float value = (widened(held[v].part[k]) - widened(pivot.part[k]) - mean[k]) * scale[k] + shift[k];
      if (value < 0.f) value *= slope;
      if (residual) value += widened(beside.part[k]);
      held[v].part[k] = rounded<T>(value);
    }
    write(y, held[v], i, j, channels, height, width, factor, pad);
  }
  if (BLOCKS > 1) cluster_wait();  // the others may still read this block's shared memory
}
