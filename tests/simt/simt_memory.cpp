/* Shared memory, device memory, and the slice of the CUDA runtime that goes with them.
 *
 * All memory starts as 0xFF bytes (NaN, -1), each shared array of each block is an allocation of
 * its own, and cudaMalloc's memory is poisoned for host code: what is read too early or too far
 * shows. Streams are ignored; every call has finished when it returns. */
#include "simt_internal.h"

#include <cstdio>
#include <cstdlib>
#include <map>
#include <vector>

namespace simt {
namespace {
enum { STATIC_SHARED_LIMIT = 48 * 1024, SHARED_LIMIT = 227 * 1024, ALIGN = 256 };

size_t rounded(size_t n, size_t to) {
  return (n + to - 1) / to * to;
}

/* n bytes, filled, and what lies between them and the allocation's end poisoned. */
char *allocate(size_t n, size_t spare) {
  size_t total = rounded(n + 1, ALIGN) + spare;
  char *p = (char *)std::aligned_alloc(ALIGN, total);
  if (p) {
    std::memset(p, 0xFF, n);
    ASAN_POISON_MEMORY_REGION(p + n, total - n);
  }
  return p;
}
void release(void *p, size_t n, size_t spare) {
  ASAN_UNPOISON_MEMORY_REGION(p, rounded(n + 1, ALIGN) + spare);
  region_del(p);
  std::free(p);
}

struct SharedArray {
  const void *key;
  char *p;
  size_t bytes;
};
std::vector<SharedArray> shared; /* key NULL: the dynamic one */
size_t static_bytes;

struct Memory {
  size_t bytes;
  bool managed;
};
std::map<char *, Memory> device;
std::map<const void *, int> dynamic_limits;
cudaError_t last_error;

char *shared_new(const void *key, size_t bytes) {
  char *p = allocate(bytes, 0);
  if (!p) {
    std::perror("simt: shared memory");
    std::exit(3);
  }
  shared.push_back({key, p, bytes});
  region_add(p, bytes, SHARED);
  return p;
}

bool is_device(const void *p, size_t bytes) {
  auto it = device.upper_bound((char *)p);
  if (it == device.begin())
    return false;
  --it;
  return (char *)p + bytes <= it->first + it->second.bytes;
}

cudaError_t allocate_device(void **out, size_t bytes, bool managed) {
  char *p = allocate(bytes, ALIGN);
  if (!p)
    return fail(cudaErrorMemoryAllocation);
  device[p] = {bytes, managed};
  region_add(p, bytes, GLOBAL);
  if (!managed)
    ASAN_POISON_MEMORY_REGION(p, bytes);
  *out = p;
  return cudaSuccess;
}
} // namespace

void shared_begin(size_t dynamic_bytes) {
  static_bytes = 0;
  if (dynamic_bytes)
    shared_new(nullptr, dynamic_bytes);
}

void shared_end() {
  if (static_bytes > STATIC_SHARED_LIMIT)
    error("%zu bytes of static shared memory, more than 48 KiB", static_bytes);
  for (auto &s : shared)
    release(s.p, s.bytes, 0);
  shared.clear();
}

void *shared_static(const void *key, size_t bytes) {
  for (auto &s : shared)
    if (s.key == key)
      return s.p;
  static_bytes += bytes;
  return shared_new(key, bytes);
}

void *shared_dynamic() {
  if (!shared.empty() && !shared[0].key)
    return shared[0].p;
  error("the kernel uses dynamic shared memory but the launch gave it none");
  return nullptr;
}

void device_access(bool on) {
  for (auto &d : device) {
    if (d.second.managed)
      continue;
    if (on)
      ASAN_UNPOISON_MEMORY_REGION(d.first, d.second.bytes);
    else
      ASAN_POISON_MEMORY_REGION(d.first, d.second.bytes);
  }
}

cudaError_t fail(cudaError_t e) {
  return last_error = e;
}

size_t dynamic_limit(const void *kernel) {
  auto it = dynamic_limits.find(kernel);
  return it == dynamic_limits.end() ? (size_t)STATIC_SHARED_LIMIT : (size_t)it->second;
}
} // namespace simt

using namespace simt;

extern "C" {
cudaError_t cudaMalloc(void **out, size_t bytes) {
  return allocate_device(out, bytes, false);
}

cudaError_t cudaMallocManaged(void **out, size_t bytes, unsigned) {
  return allocate_device(out, bytes, true);
}

cudaError_t cudaFree(void *p) {
  if (!p)
    return cudaSuccess;
  auto it = device.find((char *)p);
  if (it == device.end())
    return fail(cudaErrorInvalidValue);
  size_t bytes = it->second.bytes;
  device.erase(it);
  release(p, bytes, ALIGN);
  return cudaSuccess;
}

cudaError_t cudaMemcpy(void *to, const void *from, size_t n, cudaMemcpyKind kind) {
  bool to_device = is_device(to, n), from_device = is_device(from, n);
  if ((kind == cudaMemcpyHostToDevice && (!to_device || from_device)) ||
      (kind == cudaMemcpyDeviceToHost && (to_device || !from_device)) ||
      (kind == cudaMemcpyDeviceToDevice && !(to_device && from_device)))
    return fail(cudaErrorInvalidValue);
  device_access(true);
  std::memcpy(to, from, n);
  device_access(false);
  return cudaSuccess;
}

cudaError_t cudaMemcpyAsync(void *to, const void *from, size_t n, cudaMemcpyKind kind,
                            cudaStream_t) {
  return cudaMemcpy(to, from, n, kind);
}

cudaError_t cudaMemset(void *to, int value, size_t n) {
  if (!is_device(to, n))
    return fail(cudaErrorInvalidValue);
  device_access(true);
  std::memset(to, value, n);
  device_access(false);
  return cudaSuccess;
}

cudaError_t cudaMemsetAsync(void *to, int value, size_t n, cudaStream_t) {
  return cudaMemset(to, value, n);
}

cudaError_t cudaDeviceSynchronize(void) {
  return cudaSuccess;
}

cudaError_t cudaStreamSynchronize(cudaStream_t) {
  return cudaSuccess;
}

cudaError_t cudaGetLastError(void) {
  cudaError_t e = last_error;
  last_error = cudaSuccess;
  return e;
}

cudaError_t cudaPeekAtLastError(void) {
  return last_error;
}

const char *cudaGetErrorString(cudaError_t e) {
  switch (e) {
  case cudaSuccess:
    return "no error";
  case cudaErrorInvalidValue:
    return "invalid argument";
  case cudaErrorMemoryAllocation:
    return "out of memory";
  case cudaErrorInvalidConfiguration:
    return "invalid configuration argument";
  default:
    return "launch failure";
  }
}

cudaError_t cudaFuncSetAttribute(const void *kernel, cudaFuncAttribute attribute, int value) {
  if (attribute != cudaFuncAttributeMaxDynamicSharedMemorySize || value < 0 || value > SHARED_LIMIT)
    return fail(cudaErrorInvalidValue);
  dynamic_limits[kernel] = value;
  return cudaSuccess;
}

cudaError_t cudaGetDevice(int *index) {
  *index = 0;
  return cudaSuccess;
}

/* A card of four multiprocessors: small grids, and still more than one block. */
cudaError_t cudaDeviceGetAttribute(int *value, cudaDeviceAttr attribute, int) {
  if (attribute == cudaDevAttrMultiProcessorCount)
    *value = 4;
  else if (attribute == cudaDevAttrMaxSharedMemoryPerBlockOptin)
    *value = SHARED_LIMIT;
  else
    return fail(cudaErrorInvalidValue);
  return cudaSuccess;
}
}
