// SPADE's scale and shift by rows of a table, channels-last: y = leaky_relu(x * G[index] + B[index]).
#include "element.cuh"

// A block moves `BATCH` vectors a thread, whose loads are all under way before the first is needed. `vectors` of
// `COUNT` channels make up y, `group` of them a position; a negative index leaves its position as it is. Where
// `DOUBLED`, x has half the `width` and half the height of y: its values stand for four positions each.
template <typename T, typename Index, int COUNT, int BATCH, bool DOUBLED>
__global__ void __launch_bounds__(256)
    spade_table_apply(const T *__restrict__ x, const Index *__restrict__ index, const T *__restrict__ table,
                      T *__restrict__ y, int vectors, int group, int width, float slope) {
  const int first = blockIdx.x * (blockDim.x * BATCH) + threadIdx.x;
  int row[BATCH], channel[BATCH];
  Vector<T, COUNT> feature[BATCH], scale[BATCH], shift[BATCH];
#pragma unroll
  for (int i = 0; i < BATCH; i++) {
    const int vector = first + i * blockDim.x;
    const int position = vector / group;
    channel[i] = (vector - position * group) * COUNT;
    row[i] = vector < vectors ? static_cast<int>(index[position]) : -1;
    if (row[i] < 0) continue;
    int from = vector;
    if constexpr (DOUBLED) {
      const int line = position / width, half = width / 2;  // two lines of y have one of x, also across images
      from = ((line / 2) * half + (position - line * width) / 2) * group + (vector - position * group);
    }
    feature[i] = load<T, COUNT>(x + static_cast<long long>(from) * COUNT);
  }
#pragma unroll
  for (int i = 0; i < BATCH; i++) {
    if (row[i] < 0) continue;
    const T *from = table + static_cast<long long>(row[i]) * (2 * group * COUNT) + channel[i];
    scale[i] = load<T, COUNT>(from);
    shift[i] = load<T, COUNT>(from + group * COUNT);
  }
#pragma unroll
  for (int i = 0; i < BATCH; i++) {
    if (row[i] < 0) continue;
#pragma unroll
    for (int part = 0; part < COUNT; part++) {
      const float moved = fmaf(widened(feature[i].part[part]), widened(scale[i].part[part]), widened(shift[i].part[part]));
      feature[i].part[part] = rounded<T>(moved >= 0.f ? moved : moved * slope);
    }
    store<T, COUNT>(y + static_cast<long long>(first + i * blockDim.x) * COUNT, feature[i]);
  }
}
