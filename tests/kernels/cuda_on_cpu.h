// What a kernel of CUDA C++ needs to run on a CPU, with a thread for each of its threads: slow, and exact to the order
// of its sums. `tests/kernels/cuda_on_cpu.py` writes the rest.
#include <algorithm>
#include <barrier>
#include <cmath>
#include <cstring>
#include <memory>
#include <thread>
#include <vector>

using std::min;
#define __global__
#define __device__
#define __forceinline__ inline
#define __launch_bounds__(...)
#define CLUSTER_OF(blocks)

struct Place {
  unsigned x = 0, y = 0;
};

struct Block {
  explicit Block(int threads) : all(threads) {
    for (int warp = 0; warp < threads / 32; warp++) warps.push_back(std::make_unique<std::barrier<>>(32));
  }
  alignas(16) char shared[1 << 16];
  float lanes[32][32];
  std::barrier<> all;
  std::vector<std::unique_ptr<std::barrier<>>> warps;
};

struct Cluster {
  explicit Cluster(int count, int threads) : all(count * threads) {
    for (int rank = 0; rank < count; rank++) blocks.push_back(std::make_unique<Block>(threads));
  }
  std::vector<std::unique_ptr<Block>> blocks;
  std::barrier<> all;
};

inline thread_local Place threadIdx, blockIdx;
inline thread_local Cluster *cluster;
inline thread_local Block *block;

template <typename T> T &shared_of_block() { return *reinterpret_cast<T *>(block->shared); }
inline void __syncthreads() { block->all.arrive_and_wait(); }
inline void cluster_arrive() { cluster->all.arrive_and_wait(); }
inline void cluster_wait() {}
inline float cluster_read(const float *here, int rank) {
  const auto offset = reinterpret_cast<const char *>(here) - block->shared;
  return *reinterpret_cast<const float *>(cluster->blocks[rank]->shared + offset);
}
inline float __shfl_xor_sync(unsigned, float value, int distance) {
  const int warp = threadIdx.x / 32, lane = threadIdx.x % 32;
  block->lanes[warp][lane] = value;
  block->warps[warp]->arrive_and_wait();
  const float other = block->lanes[warp][lane ^ distance];
  block->warps[warp]->arrive_and_wait();
  return other;
}
inline float rsqrtf(float x) { return 1.f / std::sqrt(x); }
inline float __uint_as_float(unsigned bits) {
  float value;
  std::memcpy(&value, &bits, sizeof value);
  return value;
}

// Runs a grid of `columns` by `rows` blocks, one cluster of `count` blocks after another.
template <typename Kernel> void run(int columns, int rows, int count, int threads, Kernel kernel) {
  for (int row = 0; row < rows; row++)
    for (int column = 0; column < columns; column += count) {
      Cluster own(count, threads);
      std::vector<std::thread> running;
      for (int rank = 0; rank < count; rank++)
        for (int thread = 0; thread < threads; thread++)
          running.emplace_back([&, rank, thread] {
            threadIdx.x = thread;
            blockIdx = {static_cast<unsigned>(column + rank), static_cast<unsigned>(row)};
            cluster = &own;
            block = own.blocks[rank].get();
            kernel();
          });
      for (auto &thread : running) thread.join();
    }
}
