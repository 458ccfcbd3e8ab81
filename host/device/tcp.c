/* A star: every rank has a connection to rank 0, which adds up in the order of ranks and sends the sum
 * out, so that all have the same bits. Each message begins with what it is, so that ranks which went
 * different ways fail where they first differ. */
#include "tcp.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "options.h"
#include "tcp_socket.h"

enum { PATIENCE = 120, HELLO_PATIENCE = 5, PART = 1 << 16 }; /* seconds, seconds, numbers */

struct tcp_ranks {
  struct fg_ranks base;
  double *part; /* PART numbers of a rank that are being added; on rank 0 */
  int *link;    /* [size] sockets: rank 0's to the others, or link[0] to rank 0; -1: none */
};

/* What a message is; its numbers follow, but those of END, whose `bytes` is an exit code. */
enum word { SUM = 1, BROADCAST, END };
struct head {
  uint32_t word, type;
  uint64_t bytes;
};

/* What a rank says to rank 0 first, and what rank 0 answers. */
struct hello {
  char magic[8];
  uint32_t rank, size;
};
static const char MAGIC[8] = {'f', 'g', 's', 'm', ' ', 't', 'c', 'p'};

static const char *name_of(int rank, char name[static 24]) {
  snprintf(name, 24, "rank %d", rank);
  return name;
}

/* ---- messages */

static fgsm_status say(struct tcp_ranks *t, int to, struct head head, const void *x) {
  char name[24];
  FG_TRY(fg_tcp_send(t->link[to], &head, sizeof head, name_of(to, name)));
  return fg_tcp_send(t->link[to], x, (size_t)head.bytes, name_of(to, name));
}

static void tell_end(struct tcp_ranks *t, int code) {
  const struct head end = {.word = END, .bytes = (uint64_t)code};
  char name[24];
  for (int r = 0; r < t->base.size; r++)
    if (t->link[r] >= 0)
      (void)!fg_tcp_send(t->link[r], &end, sizeof end, name_of(r, name));
}

/* The beginning of a message that is to be `want`. A rank that ends all is obeyed. */
static fgsm_status hear(struct tcp_ranks *t, int from, struct head want) {
  struct head got;
  char name[24];
  FG_TRY(fg_tcp_receive(t->link[from], &got, sizeof got, name_of(from, name)));
  if (got.word == END) {
    tell_end(t, (int)got.bytes);
    _exit((int)got.bytes);
  }
  if (got.word != want.word || got.type != want.type || got.bytes != want.bytes)
    return FG_FAIL(DEVICE, "rank %d does not do what this rank, %d, does", from, t->base.rank);
  return FGSM_OK;
}

static fgsm_status take(struct tcp_ranks *t, int from, void *x, size_t bytes) {
  char name[24];
  return fg_tcp_receive(t->link[from], x, bytes, name_of(from, name));
}

/* ---- sums */

static void add(enum fg_type type, int64_t n, const void *part, void *x) {
  if (type == FG_F32)
    for (int64_t i = 0; i < n; i++)
      ((float *)x)[i] += ((const float *)part)[i];
  else if (type == FG_F64)
    for (int64_t i = 0; i < n; i++)
      ((double *)x)[i] += ((const double *)part)[i];
  else
    for (int64_t i = 0; i < n; i++)
      ((int64_t *)x)[i] += ((const int64_t *)part)[i];
}

static fgsm_status collect(struct tcp_ranks *t, int from, struct head head, int64_t n, void *x) {
  size_t each = fg_type_size((enum fg_type)head.type);
  FG_TRY(hear(t, from, head));
  for (int64_t at = 0; at < n; at += PART) {
    int64_t part = n - at < PART ? n - at : PART;
    FG_TRY(take(t, from, t->part, (size_t)part * each));
    add((enum fg_type)head.type, part, t->part, (char *)x + (size_t)at * each);
  }
  return FGSM_OK;
}

static fgsm_status sum(struct fg_ranks *base, enum fg_type type, int64_t n, void *x) {
  struct tcp_ranks *t = (struct tcp_ranks *)base;
  const struct head head = {SUM, type, (uint64_t)n * fg_type_size(type)};
  if (base->rank > 0) {
    FG_TRY(say(t, 0, head, x));
    FG_TRY(hear(t, 0, head));
    return take(t, 0, x, (size_t)head.bytes);
  }
  for (int r = 1; r < base->size; r++)
    FG_TRY(collect(t, r, head, n, x));
  for (int r = 1; r < base->size; r++)
    FG_TRY(say(t, r, head, x));
  return FGSM_OK;
}

static fgsm_status broadcast(struct fg_ranks *base, int from, void *x, size_t bytes) {
  struct tcp_ranks *t = (struct tcp_ranks *)base;
  const struct head head = {.word = BROADCAST, .type = (uint32_t)from, .bytes = bytes};
  if (base->rank > 0 && base->rank == from)
    return say(t, 0, head, x);
  int source = base->rank > 0 ? 0 : from;
  if (base->rank != from) {
    FG_TRY(hear(t, source, head));
    FG_TRY(take(t, source, x, bytes));
  }
  for (int r = 1; base->rank == 0 && r < base->size; r++)
    if (r != from)
      FG_TRY(say(t, r, head, x));
  return FGSM_OK;
}

/* ---- meeting */

static fgsm_status variable(const char *name, int64_t most, int64_t *out) {
  const char *text = getenv(name);
  if (!text)
    return FG_FAIL(USAGE, "WORLD_SIZE is set and %s is not: torchrun sets both", name);
  if (fg_int_parse(text, 0, most, out) != FGSM_OK)
    return FG_FAIL(USAGE, "%s: %.40s is no number up to %lld", name, text, (long long)most);
  return FGSM_OK;
}

static fgsm_status find_port(int *port) {
  int64_t n;
  if (getenv("FGSM_PORT")) {
    FG_TRY(variable("FGSM_PORT", 65535, &n));
  } else {
    FG_TRY(variable("MASTER_PORT", 65534, &n));
    n++;
  }
  *port = (int)n;
  return FGSM_OK;
}

static bool is_known(const struct hello *h, int size) {
  return memcmp(h->magic, MAGIC, sizeof MAGIC) == 0 && h->size == (uint32_t)size && h->rank > 0 &&
         h->rank < h->size;
}

/* One that connects is a rank if it says so, and is hung up on otherwise. */
static int welcome(struct tcp_ranks *t, int socket) {
  struct hello h;
  char name[24] = "a caller";
  fg_tcp_patience(socket, HELLO_PATIENCE);
  if (fg_tcp_receive(socket, &h, sizeof h, name) != FGSM_OK || !is_known(&h, t->base.size) ||
      t->link[h.rank] >= 0 || fg_tcp_send(socket, &h, sizeof h, name) != FGSM_OK) {
    close(socket);
    return 0;
  }
  fg_tcp_patience(socket, 0);
  t->link[h.rank] = socket;
  return 1;
}

static fgsm_status gather(struct tcp_ranks *t, int port, bool one_machine) {
  const double until = fg_now() + PATIENCE;
  int listener, met = 1;
  fgsm_status status;
  FG_TRY(fg_tcp_listen(port, one_machine, &listener));
  while ((status = fg_check_interrupt()) == FGSM_OK && met < t->base.size && fg_now() < until) {
    int socket = fg_tcp_accept(listener);
    if (socket >= 0)
      met += welcome(t, socket);
  }
  close(listener);
  if (status == FGSM_OK && met < t->base.size)
    status = FG_FAIL(DEVICE, "%d of %d ranks came to port %d within %d s", met, t->base.size, port,
                     PATIENCE);
  return status;
}

static fgsm_status join(struct tcp_ranks *t, const char *host, int port) {
  const double until = fg_now() + PATIENCE;
  struct hello h = {.rank = (uint32_t)t->base.rank, .size = (uint32_t)t->base.size}, back;
  memcpy(h.magic, MAGIC, sizeof MAGIC);
  while (t->link[0] < 0) {
    FG_TRY(fg_check_interrupt());
    FG_TRY(fg_tcp_connect(host, port, &t->link[0]));
    if (t->link[0] < 0 && fg_now() > until)
      return FG_FAIL(DEVICE, "rank 0 does not answer at %.200s, port %d, within %d s", host, port,
                     PATIENCE);
    if (t->link[0] < 0)
      nanosleep(&(struct timespec){.tv_nsec = 50000000}, NULL);
  }
  fg_tcp_patience(t->link[0], PATIENCE);
  FG_TRY(fg_tcp_send(t->link[0], &h, sizeof h, "rank 0"));
  FG_TRY(fg_tcp_receive(t->link[0], &back, sizeof back, "rank 0"));
  fg_tcp_patience(t->link[0], 0);
  return memcmp(&h, &back, sizeof h) == 0
             ? FGSM_OK
             : FG_FAIL(DEVICE,
                       "what answers at %.200s, port %d, is not rank 0: set FGSM_PORT to a "
                       "free one, the same for all ranks",
                       host, port);
}

static fgsm_status meet(struct tcp_ranks *t) {
  const char *host = getenv("MASTER_ADDR");
  int64_t rank, local, size = t->base.size, here = 0;
  int port;
  FG_TRY(variable("RANK", size - 1, &rank));
  FG_TRY(variable("LOCAL_RANK", size - 1, &local));
  if (getenv("LOCAL_WORLD_SIZE"))
    FG_TRY(variable("LOCAL_WORLD_SIZE", size, &here));
  FG_TRY(find_port(&port));
  if (!host)
    return FG_FAIL(USAGE, "WORLD_SIZE is set and MASTER_ADDR is not: torchrun sets both");
  t->base.rank = (int)rank;
  t->base.local = (int)local;
  return rank == 0 ? gather(t, port, here == size)
                   : join(t, here == size ? "127.0.0.1" : host, port);
}

static void close_ranks(struct fg_ranks *base) {
  struct tcp_ranks *t = (struct tcp_ranks *)base;
  if (!t)
    return;
  for (int r = 0; t->link && r < base->size; r++)
    if (t->link[r] >= 0)
      close(t->link[r]);
  free(t->link);
  free(t->part);
  free(t);
}

static fgsm_status open_ranks(struct fg_ranks **out) {
  int64_t size;
  FG_TRY(variable("WORLD_SIZE", 1024, &size));
  struct tcp_ranks *t = calloc(1, sizeof *t);
  if (!t)
    return FG_FAIL(MEMORY, "no memory for ranks");
  t->base = (struct fg_ranks){.kind = &fg_ranks_tcp, .size = (int)size};
  t->link = malloc((size_t)size * sizeof *t->link);
  t->part = malloc(PART * sizeof *t->part);
  for (int r = 0; t->link && r < size; r++)
    t->link[r] = -1;
  fgsm_status status = t->link && t->part ? meet(t) : FG_FAIL(MEMORY, "no memory for ranks");
  if (status != FGSM_OK)
    close_ranks(&t->base);
  else
    *out = &t->base;
  return status;
}

static void abort_ranks(struct fg_ranks *base, int code) {
  tell_end((struct tcp_ranks *)base, code);
  _exit(code);
}

const struct fg_ranks_kind fg_ranks_tcp = {"tcp", open_ranks, close_ranks,
                                           sum,   broadcast,  abort_ranks};
