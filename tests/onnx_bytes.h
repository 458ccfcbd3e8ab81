/* ONNX files made by hand, byte by byte, so that tests can make what no exporter would. Each piece
 * is a growing buffer; a message is put into another with onnx_put, which frees it. */
#ifndef FG_TEST_ONNX_BYTES_H
#define FG_TEST_ONNX_BYTES_H

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

struct onnx_bytes {
  unsigned char *data;
  size_t n, capacity;
};

static inline void onnx_raw(struct onnx_bytes *b, const void *data, size_t n) {
  if (b->n + n > b->capacity) {
    b->capacity = 2 * (b->n + n) + 64;
    b->data = realloc(b->data, b->capacity);
    if (!b->data)
      abort();
  }
  if (n)
    memcpy(b->data + b->n, data, n);
  b->n += n;
}

static inline void onnx_varint(struct onnx_bytes *b, uint64_t v) {
  do {
    unsigned char byte = (unsigned char)((v & 127) | (v > 127 ? 128 : 0));
    onnx_raw(b, &byte, 1);
    v >>= 7;
  } while (v);
}

static inline void onnx_int(struct onnx_bytes *b, unsigned field, int64_t v) {
  onnx_varint(b, field << 3);
  onnx_varint(b, (uint64_t)v);
}

static inline void onnx_blob(struct onnx_bytes *b, unsigned field, const void *data, size_t n) {
  onnx_varint(b, field << 3 | 2);
  onnx_varint(b, n);
  onnx_raw(b, data, n);
}

static inline void onnx_text(struct onnx_bytes *b, unsigned field, const char *text) {
  onnx_blob(b, field, text, strlen(text));
}

static inline void onnx_put(struct onnx_bytes *b, unsigned field, struct onnx_bytes inner) {
  onnx_blob(b, field, inner.data, inner.n);
  free(inner.data);
}

enum { ONNX_FLOAT = 1, ONNX_INT64 = 7 };

/* A TensorProto with raw data. */
static inline struct onnx_bytes onnx_tensor(const char *name, int type, int rank,
                                            const int64_t *dim, const void *raw, size_t n) {
  struct onnx_bytes b = {0};
  for (int i = 0; i < rank; i++)
    onnx_int(&b, 1, dim[i]);
  onnx_int(&b, 2, type);
  onnx_text(&b, 8, name);
  onnx_blob(&b, 9, raw, n);
  return b;
}

/* A ValueInfoProto; a negative dim is left open. */
static inline struct onnx_bytes onnx_port(const char *name, int type, int rank,
                                          const int64_t *dim) {
  struct onnx_bytes shape = {0}, tensor = {0}, any = {0}, info = {0};
  for (int i = 0; i < rank; i++) {
    struct onnx_bytes d = {0};
    if (dim[i] < 0)
      onnx_text(&d, 2, "N");
    else
      onnx_int(&d, 1, dim[i]);
    onnx_put(&shape, 1, d);
  }
  onnx_int(&tensor, 1, type);
  onnx_put(&tensor, 2, shape);
  onnx_put(&any, 1, tensor);
  onnx_text(&info, 1, name);
  onnx_put(&info, 2, any);
  return info;
}

/* A NodeProto; in and out are names parted by single spaces ("x  b": the second is absent). */
static inline struct onnx_bytes onnx_node(const char *type, const char *name, const char *in,
                                          const char *out) {
  struct onnx_bytes b = {0};
  const char *lists[] = {in, out};
  for (unsigned k = 0; k < 2; k++)
    for (const char *at = lists[k]; *lists[k];) {
      size_t n = strcspn(at, " ");
      onnx_blob(&b, 1 + k, at, n);
      if (!at[n])
        break;
      at += n + 1;
    }
  onnx_text(&b, 3, name);
  onnx_text(&b, 4, type);
  return b;
}

/* An AttributeProto of ints; one int. */
static inline struct onnx_bytes onnx_ints(const char *name, int n, const int64_t *v) {
  struct onnx_bytes b = {0};
  onnx_text(&b, 1, name);
  for (int i = 0; i < n; i++)
    onnx_int(&b, 8, v[i]);
  onnx_int(&b, 20, 7);
  return b;
}

static inline struct onnx_bytes onnx_attr_int(const char *name, int64_t v) {
  struct onnx_bytes b = {0};
  onnx_text(&b, 1, name);
  onnx_int(&b, 3, v);
  onnx_int(&b, 20, 2);
  return b;
}

/* The model around a graph. */
static inline struct onnx_bytes onnx_model(struct onnx_bytes graph, int64_t opset) {
  struct onnx_bytes b = {0}, set = {0};
  onnx_int(&b, 1, 8);
  onnx_text(&b, 2, "by hand");
  onnx_text(&b, 3, "1.0");
  onnx_put(&b, 7, graph);
  onnx_int(&set, 2, opset);
  onnx_put(&b, 8, set);
  return b;
}

/* A small whole net, opset 13: Conv, Relu, Flatten, Gemm; x [N,1,4,4] -> y [N,3]. */
static inline struct onnx_bytes onnx_small_net(void) {
  struct onnx_bytes g = {0}, node;
  float w[2 * 9], b[2] = {0.5f, -0.25f}, m[3 * 32], c[3] = {0.125f, 0, -1};
  for (int i = 0; i < 18; i++)
    w[i] = (float)(i % 7 - 3) / 8;
  for (int i = 0; i < 96; i++)
    m[i] = (float)(i % 11 - 5) / 16;
  node = onnx_node("Conv", "conv", "x w b", "h");
  onnx_put(&node, 5, onnx_ints("pads", 4, (int64_t[]){1, 1, 1, 1}));
  onnx_put(&g, 1, node);
  onnx_put(&g, 1, onnx_node("Relu", "relu", "h", "r"));
  onnx_put(&g, 1, onnx_node("Flatten", "flat", "r", "f"));
  node = onnx_node("Gemm", "fc", "f m c", "y");
  onnx_put(&node, 5, onnx_attr_int("transB", 1));
  onnx_put(&g, 1, node);
  onnx_text(&g, 2, "small");
  onnx_put(&g, 5, onnx_tensor("w", ONNX_FLOAT, 4, (int64_t[]){2, 1, 3, 3}, w, sizeof w));
  onnx_put(&g, 5, onnx_tensor("b", ONNX_FLOAT, 1, (int64_t[]){2}, b, sizeof b));
  onnx_put(&g, 5, onnx_tensor("m", ONNX_FLOAT, 2, (int64_t[]){3, 32}, m, sizeof m));
  onnx_put(&g, 5, onnx_tensor("c", ONNX_FLOAT, 1, (int64_t[]){3}, c, sizeof c));
  onnx_put(&g, 11, onnx_port("x", ONNX_FLOAT, 4, (int64_t[]){-1, 1, 4, 4}));
  onnx_put(&g, 12, onnx_port("y", ONNX_FLOAT, 2, (int64_t[]){-1, 3}));
  return onnx_model(g, 13);
}

#endif
