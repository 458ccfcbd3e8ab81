/* Cases of shape rules as data: an operator on inputs of given types and shapes, and what it makes of
 * them, or how it refuses. The tables stand in rule_cases_*.c. */
#ifndef RULE_CASES_H
#define RULE_CASES_H

#include <limits.h>
#include <math.h>

#include "op.h"

struct shape {
  enum fg_type type; /* FG_NONE: absent */
  int rank;
  int64_t dim[FG_MAX_RANK];
};

struct rule_case {
  const char *name;
  fgsm_status want;
  enum fg_op op;
  union fg_attrs attrs;
  struct shape in[8];
  int n_in;
  struct shape out[FG_MAX_OUT]; /* where want is FGSM_OK */
};

#define S(type, ...)                                                                               \
  {                                                                                                \
    FG_##type, (int)(sizeof((int64_t[]){__VA_ARGS__}) / sizeof(int64_t)), {                        \
      __VA_ARGS__                                                                                  \
    }                                                                                              \
  }
#define X(...) S(F32, __VA_ARGS__)
#define SCALAR                                                                                     \
  {                                                                                                \
    FG_F32, 0, {                                                                                   \
      0                                                                                            \
    }                                                                                              \
  }
#define NONE                                                                                       \
  {                                                                                                \
    FG_NONE, 0, {                                                                                  \
      0                                                                                            \
    }                                                                                              \
  }
#define PLAIN_CONV .spatial = 2, .group = 1, .stride = {1, 1}, .dilation = {1, 1}
#define BIG ((int64_t)1 << 40)

struct rule_table {
  const struct rule_case *cases;
  size_t n;
};
extern const struct rule_table rule_cases_products, rule_cases_movement, rule_cases_attack,
    rule_cases_train;

#define RULE_TABLE(name)                                                                           \
  const struct rule_table rule_cases_##name = {cases, sizeof cases / sizeof *cases}

#endif
