/* SHA-256 through libcrypto. */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include <openssl/evp.h>

#include "base.h"

enum { MOST_AT_ONCE = 1 << 26 }; /* bytes between two looks for Ctrl-C */

static fgsm_status finish(EVP_MD_CTX *ctx, char hex[65]) {
  unsigned char digest[32];
  unsigned n = 0;
  if (EVP_DigestFinal_ex(ctx, digest, &n) != 1 || n != 32)
    return FG_FAIL(INTERNAL, "SHA-256 failed in libcrypto");
  for (unsigned i = 0; i < 32; i++)
    snprintf(hex + 2 * i, 3, "%02x", digest[i]);
  return FGSM_OK;
}

static fgsm_status digest(const void *data, size_t bytes, bool interruptible, char hex[65]) {
  EVP_MD_CTX *ctx = EVP_MD_CTX_new();
  const char *from = data;
  fgsm_status status = FGSM_OK;
  if (!ctx || EVP_DigestInit_ex(ctx, EVP_sha256(), NULL) != 1)
    status = FG_FAIL(INTERNAL, "SHA-256 failed in libcrypto");
  while (bytes > 0 && status == FGSM_OK) {
    size_t n = bytes < MOST_AT_ONCE ? bytes : MOST_AT_ONCE;
    if (EVP_DigestUpdate(ctx, from, n) != 1)
      status = FG_FAIL(INTERNAL, "SHA-256 failed in libcrypto");
    else if (interruptible)
      status = fg_check_interrupt();
    from += n;
    bytes -= n;
  }
  if (status == FGSM_OK)
    status = finish(ctx, hex);
  EVP_MD_CTX_free(ctx);
  return status;
}

fgsm_status fg_sha256(const void *data, size_t bytes, char hex[65]) {
  return digest(data, bytes, true, hex);
}

fgsm_status fg_sha256_whole(const void *data, size_t bytes, char hex[65]) {
  return digest(data, bytes, false, hex);
}

static fgsm_status add_file(EVP_MD_CTX *ctx, const char *path) {
  unsigned char buffer[1 << 15];
  fgsm_status status = FGSM_OK;
  FILE *f = fopen(path, "rbe");
  if (!f)
    return FG_FAIL(IO, "%s: %s", path, strerror(errno));
  for (size_t n; status == FGSM_OK && (n = fread(buffer, 1, sizeof buffer, f)) > 0;)
    if (EVP_DigestUpdate(ctx, buffer, n) != 1)
      status = FG_FAIL(INTERNAL, "SHA-256 failed in libcrypto");
  if (status == FGSM_OK && ferror(f))
    status = FG_FAIL(IO, "%s: %s", path, strerror(errno));
  fclose(f);
  return status;
}

fgsm_status fg_sha256_files(const char *const *paths, int64_t n, char hex[65]) {
  fgsm_status status = FGSM_OK;
  EVP_MD_CTX *ctx = EVP_MD_CTX_new();
  if (!ctx || EVP_DigestInit_ex(ctx, EVP_sha256(), NULL) != 1)
    status = FG_FAIL(INTERNAL, "SHA-256 failed in libcrypto");
  for (int64_t i = 0; i < n && status == FGSM_OK; i++)
    status = add_file(ctx, paths[i]);
  if (status == FGSM_OK)
    status = finish(ctx, hex);
  EVP_MD_CTX_free(ctx);
  return status;
}

fgsm_status fg_sha256_file(const char *path, char hex[65]) {
  return fg_sha256_files(&path, 1, hex);
}
