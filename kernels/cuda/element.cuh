// The three dtypes of activations, their conversions, and vectors of them that are moved by one instruction.
// No header of CUDA is needed, so NVRTC compiles this wherever CuPy runs.
#pragma once

using fp32 = float;
struct fp16 { unsigned short bits; };
struct bf16 { unsigned short bits; };

__device__ __forceinline__ float widened(fp32 x) { return x; }
__device__ __forceinline__ float widened(fp16 x) {
  float y;
  asm("cvt.f32.f16 %0, %1;" : "=f"(y) : "h"(x.bits));
  return y;
}
__device__ __forceinline__ float widened(bf16 x) { return __uint_as_float(static_cast<unsigned>(x.bits) << 16); }

// To the nearest value, halves to the even one.
template <typename T> __device__ __forceinline__ T rounded(float x);
template <> __device__ __forceinline__ fp32 rounded<fp32>(float x) { return x; }
template <> __device__ __forceinline__ fp16 rounded<fp16>(float x) {
  fp16 y;
  asm("cvt.rn.f16.f32 %0, %1;" : "=h"(y.bits) : "f"(x));
  return y;
}
template <> __device__ __forceinline__ bf16 rounded<bf16>(float x) {
  bf16 y;
  asm("cvt.rn.bf16.f32 %0, %1;" : "=h"(y.bits) : "f"(x));
  return y;
}

// `COUNT` neighbours; its address has to be a multiple of its size, which is at most 16 bytes.
template <typename T, int COUNT> struct alignas(sizeof(T) * COUNT) Vector {
  T part[COUNT];
};

template <typename T, int COUNT> __device__ __forceinline__ Vector<T, COUNT> load(const T *from) {
  return *reinterpret_cast<const Vector<T, COUNT> *>(from);
}

template <typename T, int COUNT> __device__ __forceinline__ void store(T *to, const Vector<T, COUNT> &vector) {
  *reinterpret_cast<Vector<T, COUNT> *>(to) = vector;
}
