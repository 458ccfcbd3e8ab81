/* The leaf code: arena, growing things, halves, hashes, checked arithmetic, errors and threads. */
#include <math.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <criterion/criterion.h>

#include "base.h"
#include "leaks.h"

TestSuite(base, .fini = expect_no_leaks);

Test(base, arena_hands_out_zeroed_aligned_memory_that_does_not_overlap) {
  struct fg_arena arena = {0};
  static const size_t sizes[] = {1, 15, 16, 17, 63, 64, 65, 1000, 65536, 70000, 1 << 20, 0, 3};
  enum { ROUNDS = 40, N = sizeof sizes / sizeof *sizes };
  unsigned char *got[ROUNDS * N];
  size_t total = 0;
  for (int i = 0; i < ROUNDS * N; i++) {
    size_t n = sizes[i % N];
    got[i] = fg_arena_alloc(&arena, n);
    cr_assert(got[i] && (uintptr_t)got[i] % (n >= 64 ? 64 : 16) == 0, "%zu bytes", n);
    for (size_t k = 0; k < n; k++)
      cr_assert(got[i][k] == 0, "not zero");
    memset(got[i], i % 251 + 1, n);
    total += n;
  }
  cr_expect(arena.total_bytes == total);
  for (int i = 0; i < ROUNDS * N; i++)
    for (size_t k = 0; k < sizes[i % N]; k++)
      cr_assert(got[i][k] == i % 251 + 1, "piece %d was overwritten", i);
  cr_expect(strcmp(fg_arena_text(&arena, "word"), "word") == 0);
  fg_arena_free(&arena);
  cr_expect(!arena.last && arena.total_bytes == 0);
  fg_arena_free(&arena);
}

Test(base, arena_keeps_its_limit) {
  struct fg_arena arena = {.limit_bytes = 1000};
  cr_expect(fg_arena_alloc(&arena, 600));
  cr_expect(!fg_arena_alloc(&arena, 401));
  cr_expect(strstr(fgsm_last_error(), "401"));
  cr_expect(fg_arena_alloc(&arena, 400));
  cr_expect(!fg_arena_alloc(&arena, 1));
  cr_expect(!fg_arena_alloc(&arena, SIZE_MAX));
  fg_arena_free(&arena);
  cr_expect(arena.limit_bytes == 1000 && fg_arena_alloc(&arena, 1000));
  fg_arena_free(&arena);
}

Test(base, arrays_and_text_grow) {
  int64_t *array = NULL, room = 0;
  for (int64_t i = 0; i < 1000; i++) {
    cr_assert(fg_grow(&array, &room, i + 1, sizeof *array) == FGSM_OK && room > i);
    array[i] = i;
  }
  for (int64_t i = 0; i < 1000; i++)
    cr_expect(array[i] == i);
  int64_t before = room;
  cr_expect(fg_grow(&array, &room, INT64_MAX / 2, sizeof *array) == FGSM_MEMORY);
  cr_expect(room == before && array[999] == 999, "a failure leaves the array as it was");
  free(array);
  struct fg_text text = {0};
  for (int i = 0; i < 500; i++)
    fg_text_add(&text, "%d,", i);
  cr_expect(text.length == strlen(text.data) && !text.failed &&
            text.length == 10 * 2 + 90 * 3 + 400 * 4);
  cr_expect(strncmp(text.data, "0,1,2,", 6) == 0 &&
            strcmp(text.data + text.length - 4, "499,") == 0);
  fg_text_free(&text);
  cr_expect(!text.data && !text.length);
}

/* What the 16 bits mean, from the definition. */
static double meaning(unsigned h, int mantissa_bits, int bias) {
  unsigned exponents = (1u << (15 - mantissa_bits)) - 1, e = h >> mantissa_bits & exponents;
  unsigned m = h & ((1u << mantissa_bits) - 1);
  double v = e == exponents ? (m ? NAN : INFINITY)
             : e ? ldexp((double)(m | 1u << mantissa_bits), (int)e - bias - mantissa_bits)
                 : ldexp((double)m, 1 - bias - mantissa_bits);
  return h & 0x8000 ? -v : v;
}

Test(base, every_half_and_bfloat_is_read_and_written_back) {
  for (unsigned h = 0; h < 65536; h++) {
    double want = meaning(h, 10, 15), wide = meaning(h, 7, 127);
    float f = fg_half_to_float((uint16_t)h), b = fg_bfloat_to_float((uint16_t)h);
    if (isnan(want)) {
      cr_assert(isnan(f) && isnan(fg_half_to_float(fg_float_to_half(f))), "half %04x", h);
    } else {
      cr_assert((double)f == want && !signbit(f) == !signbit(want), "half %04x is %g", h, f);
      cr_assert(fg_float_to_half(f) == h, "half %04x", h);
    }
    if (isnan(wide)) {
      cr_assert(isnan(b) && isnan(fg_bfloat_to_float(fg_float_to_bfloat(b))), "bfloat %04x", h);
    } else {
      cr_assert((double)b == wide && !signbit(b) == !signbit(wide), "bfloat %04x is %g", h, b);
      cr_assert(fg_float_to_bfloat(b) == h, "bfloat %04x", h);
    }
  }
}

/* Between two neighbours: the nearer, and of equally near ones the even. */
Test(base, halves_and_bfloats_are_rounded_to_nearest_even) {
  for (unsigned h = 0; h < 0x7bff; h++) {
    float lo = fg_half_to_float((uint16_t)h), hi = fg_half_to_float((uint16_t)(h + 1));
    float middle = (lo + hi) / 2;
    unsigned even = h & 1 ? h + 1 : h;
    cr_assert(fg_float_to_half(middle) == even, "half, middle after %04x", h);
    cr_assert(fg_float_to_half(nextafterf(middle, 0)) == h, "half, below the middle after %04x", h);
    cr_assert(fg_float_to_half(nextafterf(middle, hi)) == h + 1, "half, above, %04x", h);
    cr_assert(fg_float_to_half(-middle) == (even | 0x8000), "half, negative, %04x", h);
  }
  cr_expect(fg_float_to_half(65519.996f) == 0x7bff && fg_float_to_half(65520.0f) == 0x7c00);
  cr_expect(fg_float_to_half(INFINITY) == 0x7c00 && fg_float_to_half(1e-30f) == 0);
  for (unsigned b = 0; b < 0x7f7f; b++) {
    uint32_t lo = b << 16, u[3] = {lo + 0x7fff, lo + 0x8000, lo + 0x8001};
    unsigned want[3] = {b, b & 1 ? b + 1 : b, b + 1};
    for (int k = 0; k < 3; k++) {
      float f;
      memcpy(&f, &u[k], sizeof f);
      cr_assert(fg_float_to_bfloat(f) == want[k], "bfloat after %04x", b);
    }
  }
}

Test(base, sha256_of_known_texts) {
  static const char *const t[][2] = {
      {"", "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"},
      {"abc", "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"},
      {"abcdbcdecdefdefgefghfghighijhijkijkljklmklmnlmnomnopnopq",
       "248d6a61d20638b8e5c026930c3e6039a33ce45964ff2167f6ecedd419db06c1"},
  };
  char hex[65], path[2][40];
  for (int i = 0; i < 3; i++) {
    cr_assert(fg_sha256(t[i][0], strlen(t[i][0]), hex) == FGSM_OK);
    cr_expect(strcmp(hex, t[i][1]) == 0, "%s", hex);
  }
  const char *parts[] = {"a", "bc"};
  for (int i = 0; i < 2; i++) {
    snprintf(path[i], sizeof path[i], "/tmp/fgsm-hash-XXXXXX");
    FILE *f = fdopen(mkstemp(path[i]), "wb");
    cr_assert(f && fputs(parts[i], f) >= 0 && fclose(f) == 0);
  }
  cr_expect(fg_sha256_files((const char *[]){path[0], path[1]}, 2, hex) == FGSM_OK);
  cr_expect(strcmp(hex, t[1][1]) == 0, "%s", hex);
  remove(path[0]);
  cr_expect(fg_sha256_file(path[0], hex) == FGSM_IO && strstr(fgsm_last_error(), path[0]));
  remove(path[1]);
}

Test(base, arithmetic_tells_of_overflow) {
  int64_t r = 0;
  cr_expect(fg_mul_ok(3, 4, &r) && r == 12);
  cr_expect(fg_mul_ok(0, INT64_MAX, &r) && r == 0);
  cr_expect(fg_mul_ok(INT64_MAX, 1, &r) && r == INT64_MAX);
  cr_expect(!fg_mul_ok(INT64_MAX / 2 + 1, 2, &r));
  cr_expect(!fg_mul_ok((int64_t)1 << 32, (int64_t)1 << 31, &r));
  cr_expect(!fg_mul_ok(-1, 1, &r) && !fg_mul_ok(1, -1, &r) && !fg_mul_ok(-1, -1, &r));
  cr_expect(fg_add_ok(INT64_MAX, 0, &r) && r == INT64_MAX);
  cr_expect(!fg_add_ok(INT64_MAX, 1, &r) && !fg_add_ok(-1, 2, &r) && !fg_add_ok(2, -1, &r));
}

static void *fail_elsewhere(void *message) {
  if (FG_FAIL(DATA, "from %s", "elsewhere") == FGSM_DATA)
    fg_error_copy(message, 64);
  return NULL;
}

Test(base, an_error_belongs_to_its_thread_and_can_be_carried) {
  pthread_t thread;
  char message[64] = "", longer[5];
  cr_expect(FG_FAIL(MODEL, "from here: %d", 7) == FGSM_MODEL);
  cr_assert(pthread_create(&thread, NULL, fail_elsewhere, message) == 0);
  cr_assert(pthread_join(thread, NULL) == 0);
  cr_expect(strcmp(fgsm_last_error(), "from here: 7") == 0);
  cr_expect(strcmp(message, "from elsewhere") == 0);
  cr_expect(fg_error_restore(FGSM_DATA, message) == FGSM_DATA);
  cr_expect(strcmp(fgsm_last_error(), "from elsewhere") == 0);
  fg_error_copy(longer, sizeof longer);
  cr_expect(strcmp(longer, "from") == 0);
  cr_expect(FG_FAIL(DATA, "then: %s", fgsm_last_error()) == FGSM_DATA);
  cr_expect(strcmp(fgsm_last_error(), "then: from elsewhere") == 0);
}

static char logged[64];
static int n_logged;
static void keep(void *user, fgsm_log_level level, const char *message) {
  n_logged++;
  snprintf(logged, sizeof logged, "%s%d:%s", (char *)user, (int)level, message);
}

Test(base, messages_go_to_the_callback_up_to_the_level) {
  char tag[] = "t";
  fgsm_set_log(keep, tag, FGSM_LOG_INFO);
  fg_log(FGSM_LOG_DEBUG, "no");
  cr_expect(n_logged == 0);
  fg_log(FGSM_LOG_INFO, "yes %d", 1);
  cr_expect(n_logged == 1 && strcmp(logged, "t2:yes 1") == 0, "%s", logged);
  fgsm_set_log(NULL, NULL, FGSM_LOG_DEBUG);
  fg_log(FGSM_LOG_ERROR, "nobody");
  cr_expect(n_logged == 1);
}

Test(base, statuses_have_names_texts_and_exit_codes) {
#define X(name, code, text)                                                                        \
  cr_expect(strcmp(fgsm_status_name(FGSM_##name), #name) == 0 &&                                   \
            strcmp(fgsm_status_text(FGSM_##name), text) == 0 &&                                    \
            fgsm_status_exit_code(FGSM_##name) == code);
  FGSM_STATUS_MAP(X)
#undef X
  cr_expect(fgsm_status_exit_code((fgsm_status)99) == 6);
}

Test(base, interruption_is_asked_for_and_cleared) {
  cr_expect(fg_check_interrupt() == FGSM_OK && !fg_interrupted());
  fgsm_interrupt();
  cr_expect(fg_check_interrupt() == FGSM_INTERRUPTED && fg_interrupted());
  fgsm_interrupt_clear();
  cr_expect(fg_check_interrupt() == FGSM_OK);
}

Test(base, the_clock_runs_and_there_is_a_processor) {
  double t = fg_now();
  cr_expect(fg_now() >= t && fg_cpu_count() >= 1);
}

Test(base, large_numbers_have_prefixes) {
  char text[32];
  cr_expect_str_eq(fg_scaled(999, 1000, "FLOP", text), "999 FLOP");
  cr_expect_str_eq(fg_scaled(3.41e9, 1000, "FLOP", text), "3.41 GFLOP");
  cr_expect_str_eq(fg_scaled(2048, 1024, "B", text), "2 KiB");
  cr_expect_str_eq(fg_memory_text((size_t)3 << 29, text), "1.5 GiB");
}

/* Terminal commands and bytes that are no UTF-8 become question marks; nothing is cut in half. */
Test(base, text_from_outside_is_cleaned) {
  static const struct {
    const char *text, *clean;
  } cases[] = {{"plain /a.b", "plain /a.b"},
               {"\xc3\xa9\xe2\x82\xac\xf0\x9f\x99\x82", "\xc3\xa9\xe2\x82\xac\xf0\x9f\x99\x82"},
               {"\033[31m\n\t\x7f", "?[31m???"},
               {"\xc2\x9b[", "?["},
               {"\xff\xc3", "??"},
               {"\xc0\xaf\xe0\x80\xaf", "?????"},
               {"\xed\xa0\x80", "???"},
               {"\xf4\x90\x80\x80", "????"},
               {"\xe2\x82", "??"}};
  char out[64];
  for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
    fg_clean_text(cases[i].text, false, out, sizeof out);
    cr_expect_str_eq(out, cases[i].clean, "case %zu: %s", i, out);
  }
  cr_expect_eq(fg_clean_text("a\n", true, out, sizeof out), 2);
  cr_expect_eq(fg_clean_text("ab\xc3\xa9", false, out, 4), 2, "no room for half a character");
}
