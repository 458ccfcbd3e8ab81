/* Small files that ask for much: of memory, of time, of depth. A table; each row is read, built,
 * recognised, folded, differentiated, fused, measured for its plan and planned, in a process of its
 * own, and must be taken or refused, as its row says, within 384 MiB and a second of processor time.
 * Sanitizers, which look at every access, are given six times the memory and ten times the time. */
#include <criterion/criterion.h>
#include <criterion/parameterized.h>
#include <math.h>
#include <stdio.h>
#include <sys/resource.h>

#include "graph.h"
#include "onnx.h"
#include "onnx_bytes.h"
#include "op.h"

#ifdef FG_SANITIZED
static const double MOST_SECONDS = 10;
static const long MOST_MIB = 6 * 384;
#else
static const double MOST_SECONDS = 3;
static const long MOST_MIB = 384;
#endif
enum { LIMIT_MIB = 128 }; /* of a graph's constants, as --max-memory would set it */

/* ---- making them. All take x [1,4] to y. */

static void put_shape(struct onnx_bytes *g, const char *name, int n, const int64_t *v) {
  onnx_put(g, 5, onnx_tensor(name, ONNX_INT64, 1, (int64_t[]){n}, v, (size_t)n * sizeof *v));
}

static void put_zeros(struct onnx_bytes *g, const char *name, int rank, const int64_t *dim) {
  size_t n = sizeof(float);
  for (int i = 0; i < rank; i++)
    n *= (size_t)dim[i];
  void *zeros = calloc(1, n);
  onnx_put(g, 5, onnx_tensor(name, ONNX_FLOAT, rank, dim, zeros, n));
  free(zeros);
}

static struct onnx_bytes close_graph(struct onnx_bytes g, int64_t opset) {
  onnx_put(&g, 11, onnx_port("x", ONNX_FLOAT, 2, (int64_t[]){-1, 4}));
  onnx_put(&g, 12, onnx_port("y", ONNX_FLOAT, 2, (int64_t[]){-1, 4}));
  return onnx_model(g, opset);
}

/* y = x + the sum of t, so that t matters. */
static struct onnx_bytes add_sum(struct onnx_bytes g) {
  struct onnx_bytes sum = onnx_node("ReduceSum", "sum", "t", "m");
  onnx_put(&sum, 5, onnx_attr_int("keepdims", 0));
  onnx_put(&g, 1, sum);
  onnx_put(&g, 1, onnx_node("Add", "add", "x m", "y"));
  return close_graph(g, 13);
}

/* The name of node i of n: the last gives y. */
static void name_of(char out[32], const char *letter, int i, int n) {
  if (i < n - 1)
    snprintf(out, 32, "%s%d", letter, i);
  else
    strcpy(out, "y");
}

/* n nodes, one after the other; their inputs are `before`, and what the one before gave. */
static struct onnx_bytes chain(const char *type, const char *domain, const char *inputs, int n,
                               struct onnx_bytes g) {
  char in[64], out[32], last[32] = "x";
  for (int i = 0; i < n; i++) {
    name_of(out, "v", i, n);
    snprintf(in, sizeof in, inputs, last, last);
    struct onnx_bytes node = onnx_node(type, "", in, out);
    onnx_text(&node, 7, domain);
    onnx_put(&g, 1, node);
    snprintf(last, sizeof last, "%s", out);
  }
  return g;
}

static struct onnx_bytes relus(void) {
  return close_graph(chain("Relu", "", "%s", 32000, (struct onnx_bytes){0}), 13);
}
static struct onnx_bytes doublings(void) {
  return close_graph(chain("Add", "", "%s %s", 32000, (struct onnx_bytes){0}), 13);
}
static struct onnx_bytes products(void) {
  return close_graph(chain("Mul", "", "%s x", 32000, (struct onnx_bytes){0}), 13);
}
static struct onnx_bytes too_many(void) {
  return close_graph(chain("Relu", "", "%s", 100000, (struct onnx_bytes){0}), 13);
}

static struct onnx_bytes wide(void) {
  struct onnx_bytes g = {0};
  char in[64], out[32];
  for (int i = 0; i < 15000; i++) {
    snprintf(out, sizeof out, "s%d", i);
    onnx_put(&g, 1, onnx_node("Sigmoid", "", "x", out));
  }
  for (int i = 1; i < 15000; i++) {
    snprintf(in, sizeof in, "%s%d s%d", i == 1 ? "s" : "t", i - 1, i);
    name_of(out, "t", i, 15000);
    onnx_put(&g, 1, onnx_node("Add", "", in, out));
  }
  return close_graph(g, 13);
}

static struct onnx_bytes one_wide_node(const char *type) {
  struct onnx_bytes g = {0}, node = onnx_node(type, "", "", "y");
  for (int i = 0; i < 20000; i++)
    onnx_text(&node, 1, "x");
  if (strcmp(type, "Concat") == 0)
    onnx_put(&node, 5, onnx_attr_int("axis", 1));
  onnx_put(&g, 1, node);
  return close_graph(g, 13);
}
static struct onnx_bytes sum_of_many(void) {
  return one_wide_node("Sum");
}
static struct onnx_bytes concat_of_many(void) {
  return one_wide_node("Concat");
}

static struct onnx_bytes initialisers(void) {
  struct onnx_bytes g = {0};
  char name[32];
  for (int i = 0; i < 100000; i++) {
    snprintf(name, sizeof name, "w%d", i);
    onnx_put(&g, 5, onnx_tensor(name, ONNX_FLOAT, 0, NULL, "abcd", 4));
  }
  onnx_put(&g, 1, onnx_node("Relu", "", "x", "y"));
  return close_graph(g, 13);
}

/* ---- values that grow */

static struct onnx_bytes grown(const char *type, const char *in, int n, const int64_t *shape) {
  struct onnx_bytes g = {0};
  put_shape(&g, "s", n, shape);
  onnx_put(&g, 1, onnx_node(type, "bomb", in, "t"));
  return add_sum(g);
}
static struct onnx_bytes tile(void) {
  return grown("Tile", "x s", 2, (int64_t[]){1 << 16, 1 << 16});
}
static struct onnx_bytes tile_past_bounds(void) {
  return grown("Tile", "x s", 2, (int64_t[]){INT64_MAX, INT64_MAX});
}
static struct onnx_bytes expand(void) {
  return grown("Expand", "x s", 4, (int64_t[]){1 << 11, 1 << 11, 1, 4});
}
static struct onnx_bytes fill(void) {
  return grown("ConstantOfShape", "s", 2, (int64_t[]){1 << 17, 1 << 17});
}
static struct onnx_bytes pad(void) {
  return grown("Pad", "x s", 4, (int64_t[]){0, 1ll << 34, 0, 1ll << 34});
}
static struct onnx_bytes pad_overflows(void) {
  return grown("Pad", "x s", 4, (int64_t[]){0, INT64_MAX, 0, INT64_MAX});
}

static struct onnx_bytes range(void) {
  struct onnx_bytes g = {0};
  const int64_t from = 0, to = 1ll << 40, step = 1;
  onnx_put(&g, 5, onnx_tensor("a", ONNX_INT64, 0, NULL, &from, 8));
  onnx_put(&g, 5, onnx_tensor("b", ONNX_INT64, 0, NULL, &to, 8));
  onnx_put(&g, 5, onnx_tensor("c", ONNX_INT64, 0, NULL, &step, 8));
  onnx_put(&g, 1, onnx_node("Range", "bomb", "a b c", "t"));
  return add_sum(g);
}

static struct onnx_bytes one_hot(void) {
  struct onnx_bytes g = {0};
  const int64_t depth = 1ll << 30;
  put_shape(&g, "i", 4, (int64_t[]){0, 1, 2, 3});
  onnx_put(&g, 5, onnx_tensor("d", ONNX_INT64, 0, NULL, &depth, 8));
  put_zeros(&g, "v", 1, (int64_t[]){2});
  onnx_put(&g, 1, onnx_node("OneHot", "bomb", "i d v", "t"));
  return add_sum(g);
}

static struct onnx_bytes resize(void) {
  struct onnx_bytes g = {0};
  put_zeros(&g, "w", 4, (int64_t[]){1, 1, 4, 4});
  put_shape(&g, "s", 4, (int64_t[]){1, 1, 1 << 19, 1 << 18});
  onnx_put(&g, 1, onnx_node("Resize", "bomb", "w   s", "t"));
  return add_sum(g);
}

static struct onnx_bytes einsum(void) {
  struct onnx_bytes g = {0}, node = onnx_node("Einsum", "bomb", "w w w", "t"), a = {0};
  put_zeros(&g, "w", 2, (int64_t[]){64, 64});
  onnx_text(&a, 1, "equation");
  onnx_text(&a, 4, "ab,cd,ef->abcdef");
  onnx_int(&a, 20, 3);
  onnx_put(&node, 5, a);
  onnx_put(&g, 1, node);
  return add_sum(g);
}

/* ---- constants that cost much to compute */

static struct onnx_bytes transposes(void) {
  struct onnx_bytes g = {0};
  char in[32] = "w", out[32];
  put_zeros(&g, "w", 2, (int64_t[]){1024, 1024});
  for (int i = 0; i < 1000; i++) {
    if (i < 999)
      snprintf(out, sizeof out, "w%d", i);
    else
      strcpy(out, "t");
    onnx_put(&g, 1, onnx_node("Transpose", "", in, out));
    snprintf(in, sizeof in, "%s", out);
  }
  return add_sum(g);
}

static struct onnx_bytes matrix_powers(void) {
  struct onnx_bytes g = {0};
  char in[48] = "w w", out[32];
  put_zeros(&g, "w", 2, (int64_t[]){1024, 1024});
  for (int i = 0; i < 50; i++) {
    if (i < 49)
      snprintf(out, sizeof out, "w%d", i);
    else
      strcpy(out, "t");
    onnx_put(&g, 1, onnx_node("MatMul", "", in, out));
    snprintf(in, sizeof in, "%s w", out);
  }
  return add_sum(g);
}

static struct onnx_bytes self_convolution(void) {
  struct onnx_bytes g = {0}, conv = onnx_node("Conv", "bomb", "w w", "t");
  put_zeros(&g, "w", 4, (int64_t[]){1, 1, 1024, 1024});
  onnx_put(&conv, 5, onnx_ints("pads", 4, (int64_t[]){512, 512, 512, 512}));
  onnx_put(&g, 1, conv);
  return add_sum(g);
}

/* Thousands of steps on a million channels: folding each would compute a million numbers. */
static struct onnx_bytes wide_affines(void) {
  struct onnx_bytes g = {0};
  char in[48] = "x c", out[32];
  const float c = 1.5f;
  onnx_put(&g, 5, onnx_tensor("c", ONNX_FLOAT, 0, NULL, &c, 4));
  for (int i = 0; i < 3000; i++) {
    name_of(out, "v", i, 3000);
    onnx_put(&g, 1, onnx_node(i % 2 ? "Add" : "Mul", "", in, out));
    snprintf(in, sizeof in, "%s c", out);
  }
  onnx_put(&g, 11, onnx_port("x", ONNX_FLOAT, 2, (int64_t[]){-1, 1000000}));
  onnx_put(&g, 12, onnx_port("y", ONNX_FLOAT, 2, (int64_t[]){-1, 1000000}));
  return onnx_model(g, 13);
}

/* ---- functions */

static struct onnx_bytes function(const char *name, struct onnx_bytes nodes, int more_inputs) {
  struct onnx_bytes f = nodes, set = {0}, other = {0};
  onnx_text(&f, 1, name);
  onnx_text(&f, 4, "x");
  for (int i = 0; i < more_inputs; i++) {
    char text[32];
    snprintf(text, sizeof text, "i%d", i);
    onnx_text(&f, 4, text);
  }
  onnx_text(&f, 5, "y");
  onnx_int(&set, 2, 13);
  onnx_put(&f, 9, set);
  onnx_text(&other, 1, "f");
  onnx_int(&other, 2, 1);
  onnx_put(&f, 9, other);
  onnx_text(&f, 10, "f");
  return f;
}

static struct onnx_bytes with_functions(struct onnx_bytes graph, int n, struct onnx_bytes *f) {
  struct onnx_bytes model = close_graph(graph, 13), set = {0};
  onnx_text(&set, 1, "f");
  onnx_int(&set, 2, 1);
  onnx_put(&model, 8, set);
  for (int i = 0; i < n; i++)
    onnx_put(&model, 25, f[i]);
  return model;
}

/* Each function calls the one before ten times. */
static struct onnx_bytes laughs(void) {
  struct onnx_bytes f[15];
  char name[16] = "Relu", domain[4] = "";
  for (int k = 0; k < 15; k++) {
    struct onnx_bytes nodes = chain(name, domain, "%s", 10, (struct onnx_bytes){0}), body = {0};
    /* the nodes of a function are its field 7, of a graph field 1 */
    for (size_t at = 0; at < nodes.n;) {
      size_t n = nodes.data[at + 1];
      onnx_blob(&body, 7, nodes.data + at + 2, n);
      at += 2 + n;
    }
    free(nodes.data);
    snprintf(name, sizeof name, "F%d", k);
    strcpy(domain, "f");
    f[k] = function(name, body, 0);
  }
  return with_functions(chain("F14", "f", "%s", 1, (struct onnx_bytes){0}), 15, f);
}

static struct onnx_bytes call(const char *type, const char *domain) {
  struct onnx_bytes node = onnx_node(type, "", "x", "y"), body = {0};
  onnx_text(&node, 7, domain);
  onnx_put(&body, 7, node);
  return body;
}

static struct onnx_bytes calls_itself(void) {
  struct onnx_bytes f = function("F", call("F", "f"), 0);
  return with_functions(chain("F", "f", "%s", 1, (struct onnx_bytes){0}), 1, &f);
}

/* A function of very many inputs, called very often. */
static struct onnx_bytes large_calls(void) {
  struct onnx_bytes f = function("F", call("Relu", ""), 100000);
  return with_functions(chain("F", "f", "%s", 8000, (struct onnx_bytes){0}), 1, &f);
}

static struct onnx_bytes many_functions(void) {
  enum { N = 20000 };
  struct onnx_bytes *f = calloc(N, sizeof *f);
  for (int i = 0; i < N; i++) {
    char name[32];
    snprintf(name, sizeof name, "another%d", i);
    f[i] = function(name, (struct onnx_bytes){0}, 0);
  }
  struct onnx_bytes model =
      with_functions(chain("Relu", "", "%s", 30000, (struct onnx_bytes){0}), N, f);
  free(f);
  return model;
}

static struct onnx_bytes many_opsets(void) {
  struct onnx_bytes model =
      close_graph(chain("Relu", "elsewhere", "%s", 30000, (struct onnx_bytes){0}), 13);
  for (int i = 0; i < 100000; i++) {
    struct onnx_bytes set = {0};
    char name[32];
    snprintf(name, sizeof name, "elsewhere%d", i);
    onnx_text(&set, 1, name);
    onnx_int(&set, 2, 1);
    onnx_put(&model, 8, set);
  }
  return model;
}

/* A branch that is never taken, in a function that is called again and again. */
static struct onnx_bytes dead_branch(void) {
  struct onnx_bytes taken = {0}, dead = {0}, body = {0}, node, a, b, t = {0}, c;
  onnx_put(&taken, 1, onnx_node("Identity", "", "x", "o"));
  onnx_put(&taken, 12, onnx_port("o", ONNX_FLOAT, 2, (int64_t[]){1, 4}));
  dead = chain("Relu", "", "%s", 20000, dead);
  onnx_put(&dead, 12, onnx_port("y", ONNX_FLOAT, 2, (int64_t[]){1, 4}));
  c = onnx_node("Constant", "", "", "c");
  onnx_text(&t, 1, "value");
  onnx_put(&t, 5, onnx_tensor("", 9, 0, NULL, "\1", 1));
  onnx_int(&t, 20, 4);
  onnx_put(&c, 5, t);
  onnx_put(&body, 7, c);
  node = onnx_node("If", "", "c", "y");
  a = b = (struct onnx_bytes){0};
  onnx_text(&a, 1, "then_branch");
  onnx_put(&a, 6, taken);
  onnx_int(&a, 20, 5);
  onnx_text(&b, 1, "else_branch");
  onnx_put(&b, 6, dead);
  onnx_int(&b, 20, 5);
  onnx_put(&node, 5, a);
  onnx_put(&node, 5, b);
  onnx_put(&body, 7, node);
  struct onnx_bytes f = function("F", body, 0);
  return with_functions(chain("F", "f", "%s", 8000, (struct onnx_bytes){0}), 1, &f);
}

/* ---- kernels that must be compiled, weights that they want in their own order */

/* n convolutions, in turn of so many weights [wide, wide, 3, 3]; `apart`: no two of one shape. */
static struct onnx_bytes convolutions(int n, int weights, int64_t wide, bool apart) {
  struct onnx_bytes g = {0};
  char last[32] = "x", in[80], out[32];
  for (int i = 0; i < weights; i++) {
    snprintf(in, sizeof in, "w%d", i);
    put_zeros(&g, in, 4, (int64_t[]){wide, wide, 3, 3});
  }
  for (int i = 0; i < n; i++) {
    int64_t pads[4] = {1, 1, 1, 1};
    if (apart) { /* columns come and go in 64 turns, of which one adds a row */
      pads[2] += i % 64 == 63;
      pads[3] += i % 64 < 32 ? 1 : -1;
    }
    name_of(out, "v", i, n);
    snprintf(in, sizeof in, "%s w%d", last, i % weights);
    struct onnx_bytes conv = onnx_node("Conv", "bomb", in, out);
    onnx_put(&conv, 5, onnx_ints("pads", 4, pads));
    onnx_put(&g, 1, conv);
    snprintf(last, sizeof last, "%s", out);
  }
  onnx_put(&g, 11, onnx_port("x", ONNX_FLOAT, 4, (int64_t[]){-1, wide, 8, 8}));
  onnx_put(&g, 12, onnx_port("y", ONNX_FLOAT, 4, (int64_t[]){-1, wide, -1, -1}));
  return onnx_model(g, 13);
}
static struct onnx_bytes convolutions_apart(void) {
  return convolutions(3000, 1, 16, true);
}
static struct onnx_bytes convolutions_alike(void) {
  return convolutions(3000, 1, 16, false);
}
static struct onnx_bytes one_large_weight(void) {
  return convolutions(400, 1, 512, true);
}
static struct onnx_bytes large_weights(void) {
  return convolutions(9, 9, 512, false);
}

/* ---- the odd */

static struct onnx_bytes unnamed_output(void) {
  struct onnx_bytes g = {0};
  onnx_put(&g, 1, onnx_node("Relu", "", "x", "y"));
  onnx_put(&g, 11, onnx_port("x", ONNX_FLOAT, 2, (int64_t[]){1, 4}));
  onnx_put(&g, 12, onnx_port("", ONNX_FLOAT, 2, (int64_t[]){1, 4}));
  return onnx_model(g, 13);
}

static struct onnx_bytes strange_real(const char *type, const char *name, float value) {
  struct onnx_bytes g = {0}, node = onnx_node(type, "odd", "x", "y"), a = {0};
  unsigned char bits[4];
  memcpy(bits, &value, 4);
  onnx_text(&a, 1, name);
  onnx_varint(&a, 2 << 3 | 5);
  onnx_raw(&a, bits, 4);
  onnx_int(&a, 20, 1);
  onnx_put(&node, 5, a);
  onnx_put(&g, 1, node);
  return close_graph(g, 13);
}
static struct onnx_bytes nan_alpha(void) {
  return strange_real("LeakyRelu", "alpha", NAN);
}
static struct onnx_bytes infinite_alpha(void) {
  return strange_real("Elu", "alpha", INFINITY);
}

static struct onnx_bytes long_name(void) {
  enum { N = 1 << 20 };
  char *name = malloc(N + 1);
  memset(name, 'n', N);
  name[N] = 0;
  struct onnx_bytes g = {0};
  onnx_put(&g, 1, onnx_node("Bogus", name, "x", "y"));
  free(name);
  return close_graph(g, 13);
}

static struct onnx_bytes window(int64_t pads, int64_t stride, int64_t dilation) {
  struct onnx_bytes g = {0}, conv = onnx_node("Conv", "odd", "x w", "y");
  put_zeros(&g, "w", 4, (int64_t[]){4, 1, 3, 3});
  onnx_put(&conv, 5, onnx_ints("pads", 4, (int64_t[]){pads, pads, pads, pads}));
  onnx_put(&conv, 5, onnx_ints("strides", 2, (int64_t[]){stride, stride}));
  onnx_put(&conv, 5, onnx_ints("dilations", 2, (int64_t[]){dilation, dilation}));
  onnx_put(&g, 1, conv);
  onnx_put(&g, 11, onnx_port("x", ONNX_FLOAT, 4, (int64_t[]){-1, 1, 8, 8}));
  onnx_put(&g, 12, onnx_port("y", ONNX_FLOAT, 4, (int64_t[]){-1, 4, -1, -1}));
  return onnx_model(g, 13);
}
static struct onnx_bytes huge_pads(void) {
  return window(1 << 30, 1, 1);
}
static struct onnx_bytes endless_pads(void) {
  return window(INT64_MAX, 1, 1);
}
static struct onnx_bytes huge_stride(void) {
  return window(1, INT64_MAX, 1);
}
static struct onnx_bytes huge_dilation(void) {
  return window(1, 1, 1ll << 40);
}
static struct onnx_bytes no_stride(void) {
  return window(1, 0, 1);
}

static struct onnx_bytes empty_sample(void) {
  struct onnx_bytes g = {0};
  onnx_put(&g, 1, onnx_node("Relu", "", "x", "y"));
  onnx_put(&g, 11, onnx_port("x", ONNX_FLOAT, 3, (int64_t[]){-1, 0, 4}));
  onnx_put(&g, 12, onnx_port("y", ONNX_FLOAT, 3, (int64_t[]){-1, 0, 4}));
  return onnx_model(g, 13);
}

/* ---- the table */

enum { TAKEN = 1 << FGSM_OK, REFUSED = 1 << FGSM_UNSUPPORTED | 1 << FGSM_MODEL };
static const struct row {
  const char *name;
  struct onnx_bytes (*make)(void);
  unsigned want;     /* statuses, one bit each */
  const char *words; /* of the refusal */
} rows[] = {
    {"32000 relus", relus, TAKEN, ""},
    {"32000 doublings", doublings, TAKEN, ""},
    {"32000 products with the input", products, TAKEN, ""},
    {"100000 nodes", too_many, REFUSED, "nodes or more"},
    {"15000 nodes side by side", wide, TAKEN, ""},
    {"a sum of 20000", sum_of_many, TAKEN, ""},
    {"20000 joined", concat_of_many, TAKEN, ""},
    {"100000 initialisers", initialisers, TAKEN, ""},
    {"Tile", tile, TAKEN, ""},
    {"Tile past all bounds", tile_past_bounds, REFUSED, "Tile 'bomb'"},
    {"Expand", expand, TAKEN, ""},
    {"ConstantOfShape", fill, TAKEN, ""},
    {"Pad", pad, TAKEN | REFUSED, "Pad 'bomb'"},
    {"Pad that overflows", pad_overflows, REFUSED, "Pad 'bomb'"},
    {"Range", range, REFUSED, "at most"},
    {"OneHot", one_hot, REFUSED, "depth"},
    {"Resize", resize, TAKEN | REFUSED, "Resize 'bomb'"},
    {"Einsum", einsum, TAKEN | REFUSED, "Einsum 'bomb'"},
    {"1000 transposes of a constant", transposes, TAKEN, ""},
    {"powers of a matrix", matrix_powers, TAKEN, ""},
    {"a constant convolved with itself", self_convolution, TAKEN, ""},
    {"3000 steps on a million channels", wide_affines, TAKEN, ""},
    {"a billion laughs", laughs, REFUSED, "nodes or more"},
    {"a function that calls itself", calls_itself, REFUSED, "calls itself"},
    {"a function of 100000 inputs called 8000 times", large_calls, REFUSED, "names more than"},
    {"20000 functions", many_functions, REFUSED, "20000 functions"},
    {"100000 operator sets", many_opsets, REFUSED, "100001 operator sets"},
    {"a branch of 20000 nodes passed over 8000 times", dead_branch, REFUSED, "names more than"},
    {"3000 convolutions of different shapes", convolutions_apart, REFUSED, "differ in shape"},
    {"3000 convolutions of one shape", convolutions_alike, TAKEN, ""},
    {"a weight of 9 MiB in 400 convolutions", one_large_weight, TAKEN, ""},
    {"9 weights of 9 MiB, twice more in the kernels' order", large_weights, 1 << FGSM_MEMORY,
     "in the order of cpu's kernels"},
    {"an output without a name", unnamed_output, REFUSED, "nothing computes"},
    {"alpha NaN", nan_alpha, TAKEN | REFUSED, "odd"},
    {"alpha infinite", infinite_alpha, TAKEN | REFUSED, "odd"},
    {"a name of a million characters", long_name, REFUSED, "not supported"},
    {"huge pads", huge_pads, REFUSED, "padding"},
    {"endless pads", endless_pads, REFUSED, "odd"},
    {"a huge stride", huge_stride, REFUSED, "odd"},
    {"a huge dilation", huge_dilation, REFUSED, "odd"},
    {"a stride of 0", no_stride, REFUSED, "odd"},
    {"samples without elements", empty_sample, TAKEN | REFUSED, ""},
};
enum { ROWS = sizeof rows / sizeof *rows };

/* ---- */

static fgsm_status differentiate(struct fg_graph *g, struct fg_device *device, const fg_id *in,
                                 const fg_id *out) {
  fg_id seed, grad, of;
  FG_TRY(fg_graph_output(g, out[0], NULL));
  FG_TRY(fg_recognise(g, device));
  FG_TRY(fg_fold(g));
  of = g->outputs[0];
  struct fg_value like = *fg_value(g, of);
  FG_TRY(fg_graph_input(g, "seed", like.type, like.rank, like.dim, &seed));
  FG_TRY(fg_grad(g, 1, &of, &seed, 1, in, &grad));
  return grad == FG_ABSENT ? FGSM_OK : fg_graph_output(g, grad, NULL);
}

static fgsm_status load(const struct onnx_bytes *b) {
  struct fg_onnx *onnx = NULL;
  struct fg_graph *g = NULL;
  struct fg_device *device = NULL;
  struct fg_plan *plan = NULL;
  struct fg_plan_info info;
  fg_id in[4], out[4];
  cr_assert_eq(fg_cpu.open(0, 1, &device), FGSM_OK);
  fgsm_status status = fg_onnx_parse(b->data, b->n, "bomb", &onnx);
  if (status == FGSM_OK)
    status = fg_graph_create(FG_F32, &g);
  if (status == FGSM_OK) {
    g->arena.limit_bytes = (size_t)LIMIT_MIB << 20;
    status = fg_onnx_build(onnx, g, 1, false, NULL, in, out, NULL);
  }
  if (status == FGSM_OK)
    status = differentiate(g, device, in, out);
  if (status == FGSM_OK)
    status = fg_fuse(g, device);
  if (status == FGSM_OK)
    status = fg_layout(g, device);
  if (status == FGSM_OK)
    status = fg_plan_size(g, &info);
  if (status == FGSM_OK) {
    status = fg_plan_create(g, device, false, &plan);
    g = NULL;
  }
  fg_plan_destroy(plan);
  fg_graph_destroy(g);
  fg_onnx_close(onnx);
  fg_cpu.close(device);
  return status;
}

ParameterizedTestParameters(onnx_bombs, are_taken_or_refused_at_once) {
  static int index[ROWS];
  for (int i = 0; i < ROWS; i++)
    index[i] = i;
  return cr_make_param_array(int, index, ROWS);
}

ParameterizedTest(int *i, onnx_bombs, are_taken_or_refused_at_once) {
  const struct row *row = &rows[*i];
  struct onnx_bytes b = row->make();
  struct rusage before, after;
  getrusage(RUSAGE_SELF, &before);
  fgsm_status status = load(&b);
  getrusage(RUSAGE_SELF, &after);
  double took = (double)(after.ru_utime.tv_sec - before.ru_utime.tv_sec) +
                (double)(after.ru_stime.tv_sec - before.ru_stime.tv_sec) +
                1e-6 * (double)(after.ru_utime.tv_usec - before.ru_utime.tv_usec +
                                after.ru_stime.tv_usec - before.ru_stime.tv_usec);
  long mib = (after.ru_maxrss - before.ru_maxrss) >> 10;
  free(b.data);
  cr_expect(row->want >> status & 1, "%s: %s: %s", row->name, fgsm_status_name(status),
            fgsm_last_error());
  cr_expect(status == FGSM_OK || strstr(fgsm_last_error(), row->words), "%s: '%s' is not in: %s",
            row->name, row->words, fgsm_last_error());
  cr_expect(took < MOST_SECONDS, "%s: %.2f s", row->name, took);
  cr_expect(mib < MOST_MIB, "%s: %ld MiB", row->name, mib);
}
