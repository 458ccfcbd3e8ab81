/* SHA-256 through libcrypto. */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include <openssl/evp.h>

#include "base.h"

static fgsm_status finish(EVP_MD_CTX *ctx, char hex[65]) {
  unsigned char digest[32];
  unsigned n = 0;
  if (EVP_DigestFinal_ex(ctx, digest, &n) != 1 || n != 32)
    return FG_FAIL(INTERNAL, "SHA-256 failed in libcrypto");
  for (unsigned i = 0; i < 32; i++)
    snprintf(hex + 2 * i, 3, "%02x", digest[i]);
  return FGSM_OK;
}

fgsm_status fg_sha256(const void *data, size_t bytes, char hex[65]) {
  EVP_MD_CTX *ctx = EVP_MD_CTX_new();
  fgsm_status status = FGSM_OK;
  if (!ctx || EVP_DigestInit_ex(ctx, EVP_sha256(), NULL) != 1 ||
      EVP_DigestUpdate(ctx, data, bytes) != 1)
    status = FG_FAIL(INTERNAL, "SHA-256 failed in libcrypto");
  if (status == FGSM_OK)
    status = finish(ctx, hex);
  EVP_MD_CTX_free(ctx);
  return status;
}

fgsm_status fg_sha256_file(const char *path, char hex[65]) {
  unsigned char buffer[1 << 15];
  fgsm_status status = FGSM_OK;
  EVP_MD_CTX *ctx = EVP_MD_CTX_new();
  FILE *f = fopen(path, "rbe");
  if (!f) {
    status = FG_FAIL(IO, "%s: %s", path, strerror(errno));
    goto done;
  }
  if (!ctx || EVP_DigestInit_ex(ctx, EVP_sha256(), NULL) != 1) {
    status = FG_FAIL(INTERNAL, "SHA-256 failed in libcrypto");
    goto done;
  }
  for (size_t n; (n = fread(buffer, 1, sizeof buffer, f)) > 0;)
    if (EVP_DigestUpdate(ctx, buffer, n) != 1) {
      status = FG_FAIL(INTERNAL, "SHA-256 failed in libcrypto");
      goto done;
    }
  if (ferror(f))
    status = FG_FAIL(IO, "%s: %s", path, strerror(errno));
  else
    status = finish(ctx, hex);
done:
  if (f)
    fclose(f);
  EVP_MD_CTX_free(ctx);
  return status;
}
